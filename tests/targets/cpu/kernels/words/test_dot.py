"""Dot products of bytes: the processor's instruction, and weights that 16-bit sums can hold."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.kernels.words.dot import GROUP, DotProduct, safe_depth, split_excess
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.processors import NEON

Array = np.ndarray

X86 = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's processors")
INT16 = np.iinfo(np.int16)

# Magnitudes about the bound, the largest of int8, and any.
BYTES = st.one_of(
    st.integers(-128, 127), st.sampled_from([-128, -127, -65, -64, -63, 0, 1, 63, 64, 65, 127])
)


def weights(
    groups: st.SearchStrategy[int], elements: st.SearchStrategy[int] = BYTES
) -> st.SearchStrategy[Array]:
    """Weights [K, columns]."""
    shapes = st.tuples(groups.map(lambda count: count * GROUP), st.integers(1, 3))
    return shapes.flatmap(lambda shape: arrays.arrays(np.int8, shape, elements=elements))


def wrapped(sums: Array) -> Array:
    """What 16 bits hold of sums: additions of int16 vectors wrap."""
    return sums.astype(np.int16).astype(np.int64)


def maddubs(rows: Array, values: Array) -> Array:
    """pmaddubsw: [..., K] to [..., K / 2], sums of two products that saturate."""
    products = rows.astype(np.int64) * values.astype(np.int64)
    return np.clip(products.reshape(*products.shape[:-1], -1, 2).sum(-1), INT16.min, INT16.max)


def sums_in_16_bits(rows: Array, values: Array, depth: int) -> Array:
    """The kernel's sums of [..., K]: ``depth`` groups in 16 bits, then in 32 bits."""
    pairs = maddubs(rows, values).reshape(*np.broadcast_shapes(rows.shape, values.shape)[:-1], -1)
    groups = pairs.reshape(*pairs.shape[:-1], -1, GROUP // 2)
    steps = groups.shape[-2] // depth * depth
    whole = groups[..., :steps, :].reshape(*groups.shape[:-2], -1, depth, GROUP // 2)
    return wrapped(whole.sum(-2)).sum((-1, -2)) + groups[..., steps:, :].sum((-1, -2))


def extreme_rows(values: Array) -> Array:
    """Rows of zeros and 255 that make the sums of two groups, one by one, as large as they get."""
    choices = np.array(list(itertools.product([0, 255], repeat=GROUP)), np.uint8)
    everywhere = np.tile(choices, values.shape[0] // GROUP)
    by_sign = [np.where(sign * column > 0, 255, 0) for column in values.T for sign in (1, -1)]
    return np.concatenate([everywhere, np.array(by_sign, np.uint8)])


def is_exact(values: Array, depth: int) -> bool:
    """Whether all sums of extreme rows are exact at a depth."""
    rows = extreme_rows(values)
    return all(
        np.array_equal(sums_in_16_bits(rows, column, depth), rows.astype(np.int64) @ column)
        for column in values.T.astype(np.int64)
    )


class TestSafeDepth:
    @given(weights(st.integers(1, 5)))
    def test_sums_are_exact_at_the_depth(self, values: Array) -> None:
        depth = safe_depth(values)
        assert depth == 0 or is_exact(values, depth)

    @given(weights(st.integers(2, 6), st.integers(-40, 40)))
    def test_sums_of_small_weights_are_exact_at_the_depth(self, values: Array) -> None:
        depth = safe_depth(values)
        assert depth > 0
        assert is_exact(values, depth)

    @given(weights(st.integers(1, 5)))
    def test_no_greater_depth_is_exact(self, values: Array) -> None:
        # 255 times 129 is the least that 16 bits do not hold.
        depth = safe_depth(values)
        assert depth == 2 or not is_exact(values, depth + 1)

    @given(
        weights(st.just(2), st.integers(-43, 43)),
        arrays.arrays(np.uint8, (16, 2 * GROUP)),
    )
    def test_any_rows(self, values: Array, rows: Array) -> None:
        depth = safe_depth(values)
        for column in values.T.astype(np.int64):
            expected = rows.astype(np.int64) @ column
            np.testing.assert_array_equal(sums_in_16_bits(rows, column, depth), expected)

    @pytest.mark.parametrize(
        ("values", "depth"),
        [
            pytest.param([32, 32, 64, 64, 32, 32, 0, 0], 2, id="128 in two groups"),
            pytest.param([32, 32, 0, 0, 32, 33, 0, 0], 1, id="129 in two groups"),
            pytest.param([64, 64, 0, 0, 0, 0, 64, 64], 2, id="different pairs are not added"),
            pytest.param([64, 64, 0, 0, 1, 0, 0, 0], 1, id="128 in a pair"),
            pytest.param([64, 65, 0, 0], 0, id="129 in a pair"),
            pytest.param([-64, -64, 0, 0], 2, id="-128 in a pair"),
            pytest.param([-64, -65, 0, 0], 0, id="-129 in a pair"),
            pytest.param([-128, 0, 127, 0], 2, id="one large weight in each pair"),
            pytest.param([-128, 127, 127, -128], 2, id="opposite signs"),
            pytest.param([-128, -128, 0, 0], 0, id="the least"),
            pytest.param([0, 0, 0, 0], 2, id="zeros"),
            pytest.param([1] * 8 + [100, 28, 0, 0], 2, id="an odd group stands alone"),
            pytest.param([1] * 4 + [100, 0] * 2 + [100, 0] * 2, 2, id="groups 1 and 2 do not meet"),
        ],
    )
    def test_table(self, values: list[int], depth: int) -> None:
        assert safe_depth(np.array(values, np.int8)[:, None]) == depth

    def test_every_column_counts(self) -> None:
        values = np.zeros((GROUP, 5), np.int8)
        values[2:, 4] = 127
        assert safe_depth(values) == 0

    def test_rows_of_taps_are_sums_of_their_own(self) -> None:
        # Steps of two groups begin with each row of the kernel.
        taps = np.zeros((2, GROUP, 1), np.int8)
        taps[:, 0] = 100
        assert safe_depth(taps) == 2
        assert safe_depth(taps.reshape(1, 2 * GROUP, 1)) == 1


class TestSplitExcess:
    @given(weights(st.integers(1, 4)))
    def test_parts_add_up_and_neither_saturates(self, values: Array) -> None:
        safe, rest = split_excess(values)
        np.testing.assert_array_equal(safe.astype(np.int16) + rest, values)
        assert safe.dtype == rest.dtype == np.int8
        for part in (safe, rest):
            assert safe_depth(part) > 0
            assert is_exact(part, 1)

    def test_every_pair_of_weights(self) -> None:
        every = np.arange(-128, 128, dtype=np.int8)
        pairs = np.stack(np.meshgrid(every, every), 0).reshape(2, -1)
        values = np.concatenate([pairs, np.zeros_like(pairs)])
        safe, rest = split_excess(values)
        np.testing.assert_array_equal(safe.astype(np.int16) + rest, values)
        assert np.abs(safe[0].astype(int) + safe[1] * (np.sign(safe[0]) == np.sign(safe[1]))).max(
        ) <= 128  # fmt: skip
        assert safe_depth(safe) > 0
        assert safe_depth(rest) > 0

    @given(weights(st.integers(1, 4), st.integers(-64, 64)))
    def test_what_is_safe_stays(self, values: Array) -> None:
        safe, rest = split_excess(values)
        np.testing.assert_array_equal(safe, values)
        assert not rest.any()

    def test_keeps_leading_axes(self) -> None:
        values = np.full((2, 3, 2 * GROUP, 5), 127, np.int8)
        safe, rest = split_excess(values)
        assert safe.shape == rest.shape == values.shape
        assert rest.any(axis=(0, 1)).any()


@X86
@pytest.mark.parametrize(
    ("mcpu", "kind", "lanes"),
    [
        ("x86-64", "plain", 4),
        ("generic", "pmaddubsw", 4),
        ("haswell", "pmaddubsw", 8),
        ("znver3", "pmaddubsw", 8),
        ("skylake-avx512", "pmaddubsw", 16),
        ("knl", "plain", 16),
        ("cascadelake", "vpdpbusd", 16),
        ("icelake-server", "vpdpbusd", 16),
        ("znver4", "vpdpbusd", 16),
        ("alderlake", "vpdpbusd", 8),
    ],
)
def test_the_best_instruction_that_a_processor_has(mcpu: str, kind: str, lanes: int) -> None:
    dot = DotProduct.of(describe_cpu(mcpu, threads=1))
    assert (dot.kind, dot.lanes) == (kind, lanes)
    assert dot.saturates == (kind == "pmaddubsw")


@pytest.mark.parametrize(
    ("features", "kind"), [((), "plain"), (("asimddp",), "plain"), (("asimddp", "i8mm"), "usdot")]
)
def test_the_best_instruction_of_arm(features: tuple[str, ...], kind: str) -> None:
    dot = DotProduct.of(dataclasses.replace(NEON, features=features))
    assert (dot.kind, dot.lanes) == (kind, 4)
