"""Lookups of rows: any table and indices, negative ones, and ones outside of the table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx

from ingot.targets.cpu.kernels.rows.gather import Gather, gather
from ingot.targets.cpu.machine import describe_cpu
from tests.examples import examples
from tests.targets.cpu.kernels.conftest import compile_kernel


def look_up(problem: Gather, table: np.ndarray, indices: np.ndarray, threads: int = 2):
    cpu = describe_cpu("native", threads=2)
    shape = (*indices.shape, *table.shape[1:])
    return compile_kernel(gather(problem, cpu), cpu)(table, indices, shape=shape, threads=threads)


def numbered(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@settings(max_examples=examples(15), deadline=None)
@given(
    rows=st.integers(1, 9),
    row=st.lists(st.integers(1, 40), min_size=1, max_size=2),
    count=st.lists(st.integers(1, 5), max_size=3),
    index_type=st.sampled_from(["int32", "int64"]),
    from_end=st.booleans(),
    data=st.data(),
)
def test_rows_are_copied(rows: int, row: list[int], count: list[int], index_type: str,
                         from_end: bool, data: st.DataObject) -> None:  # fmt: skip
    unknown = data.draw(st.sets(st.sampled_from(range(len(count)))) if count else st.just(set()))
    known = tuple(
        tirx.Var(f"d{axis}", "int64") if axis in unknown else size
        for axis, size in enumerate(count)
    )
    table = numbered(rows, *row)
    lowest = -rows if from_end else 0
    indices = np.random.default_rng(0).integers(lowest, rows, count).astype(index_type)
    problem = Gather(table.shape, known, index_type, clipped=True, from_end=from_end)
    np.testing.assert_array_equal(look_up(problem, table, indices), table[indices])


@pytest.mark.parametrize("from_end", [True, False])
def test_indices_outside_of_the_table_take_its_first_or_last_row(from_end: bool) -> None:
    table = numbered(3, 5)
    indices = np.array([-9, -4, 3, 1 << 40])
    problem = Gather(table.shape, indices.shape, "int64", clipped=True, from_end=from_end)
    np.testing.assert_array_equal(look_up(problem, table, indices), table[[0, 0, 2, 2]])
