"""Rows that a tile walks along should not evict each other from the first-level cache."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.targets.cpu.kernels.tiling.conflicts import (
    COLUMNS_WORTH_A_COPY,
    apart,
    rows_compete,
    worth_a_copy,
)
from ingot.targets.cpu.machine import CpuDescription, describe_cpu


@pytest.fixture(scope="module", name="eight_ways")
def _eight_ways() -> CpuDescription:
    cpu = describe_cpu("native", None)
    return dataclasses.replace(cpu, core=dataclasses.replace(cpu.core, l1d_bytes=32 * 1024))


@pytest.mark.parametrize(
    ("rows", "stride", "compete"),
    [
        pytest.param(14, 1024, True, id="a way apart: one set"),
        pytest.param(14, 3072, True, id="several ways apart: one set"),
        pytest.param(8, 1024, False, id="as many rows as ways"),
        pytest.param(14, 512, False, id="half a way apart: two sets of seven"),
        pytest.param(14, 1088, False, id="an odd number of lines apart"),
        pytest.param(14, 3, False, id="within a few lines"),
    ],
)
def test_rows_compete_for_sets(
    eight_ways: CpuDescription, rows: int, stride: int, compete: bool
) -> None:
    assert rows_compete(rows, stride, eight_ways) is compete


def test_a_copy_has_to_be_read_often(eight_ways: CpuDescription) -> None:
    assert worth_a_copy(14, 1024, COLUMNS_WORTH_A_COPY, eight_ways)
    assert not worth_a_copy(14, 1024, COLUMNS_WORTH_A_COPY - 1, eight_ways)


@given(elements=st.integers(1, 20_000), rows=st.integers(1, 64))
def test_copied_rows_never_compete(eight_ways: CpuDescription, elements: int, rows: int) -> None:
    stride = apart(elements)
    assert elements <= stride < elements + 32
    assert not rows_compete(rows, stride, eight_ways)
