"""Weights as integer kernels read them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingot.targets.cpu.kernels.anchors import WordPacking
from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.words.dot import GROUP, DotProduct, safe_depth
from ingot.targets.cpu.selection.words.packing import Multiplication, PackedWeights
from tests.targets.cpu.quantized_networks import random_weights

MADDUBS = DotProduct("pmaddubsw", 8)
EXACT = DotProduct("vpdpbusd", 8)


def unpacked(packed: np.ndarray, columns: int) -> np.ndarray:
    """[panel, taps, groups, 4 · panel width] to [taps, K, columns], element by element."""
    panels, taps, groups, length = packed.shape
    width = length // GROUP
    result = np.zeros((taps, groups * GROUP, columns), np.int64)
    for tap, k, column in np.ndindex(result.shape):
        place = column % width * GROUP + k % GROUP
        result[tap, k, column] = packed[column // width, tap, k // GROUP, place]
    assert panels == -(-columns // width)
    return result


def excess(arrays: tuple[np.ndarray, ...], taps: int, groups: int, columns: int) -> np.ndarray:
    """The steps of excess as [taps, K, columns]."""
    steps, at, bounds = arrays
    assert len(steps) == len(at) == bounds[-1]
    panels, width = len(bounds) - 1, steps.shape[1] // GROUP
    full = np.zeros((panels, taps * groups, steps.shape[1]), np.int64)
    for panel in range(panels):
        for step in range(bounds[panel], bounds[panel + 1]):
            assert steps[step].any(), "a step that adds nothing"
            full[panel, at[step]] += steps[step]
    assert width * panels >= columns
    return unpacked(full.reshape(panels, taps, groups, -1), columns)


shapes = st.tuples(
    st.integers(1, 3), st.integers(1, 5).map(lambda g: g * GROUP), st.integers(1, 40)
)


class TestPackedWeights:
    @given(shapes, st.integers(1, 3), st.integers(0, 255), st.sampled_from([20, 60, 127]))
    def test_hold_every_weight_once(
        self, shape: tuple[int, int, int], vectors: int, zero_point: int, largest: int
    ) -> None:
        weights = random_weights(*shape, seed=vectors, largest=largest)
        panels = Panels(shape[2], 8, vectors)
        packed = PackedWeights.pack_bytes(weights, zero_point, Multiplication(MADDUBS, panels))
        total = unpacked(packed.arrays[0], shape[2])
        if len(packed.arrays) > 2:
            total = total + excess(packed.arrays[2:], shape[0], shape[1] // GROUP, shape[2])
        np.testing.assert_array_equal(total, weights)

    @given(shapes, st.integers(0, 255))
    def test_sums_begin_with_what_the_zero_point_adds(
        self, shape: tuple[int, int, int], zero_point: int
    ) -> None:
        weights = random_weights(*shape)
        chosen = Multiplication(MADDUBS, Panels(shape[2], 8, 2))
        packed = PackedWeights.pack_bytes(weights, zero_point, chosen)
        offsets = packed.arrays[1].ravel()
        expected = -zero_point * weights.astype(np.int64).sum((0, 1))
        np.testing.assert_array_equal(offsets[: shape[2]], expected)
        assert offsets.dtype == np.int32
        assert not offsets[shape[2] :].any()

    @given(shapes, st.sampled_from([20, 32, 60, 64, 127]))
    def test_what_is_added_in_16_bits_fits(self, shape: tuple[int, int, int], largest: int) -> None:
        weights = random_weights(*shape, largest=largest)
        chosen = Multiplication(MADDUBS, Panels(shape[2], 8, 1))
        packed = PackedWeights.pack_bytes(weights, 0, chosen)
        kept = unpacked(packed.arrays[0], shape[2]).astype(np.int8)
        assert safe_depth(kept) >= packed.depth >= 1
        assert len(packed.arrays) == (5 if safe_depth(weights) == 0 else 2)
        assert packed.packing == WordPacking(len(packed.arrays), packed.depth, tile_groups=0)

    def test_exact_instructions_need_none_of_this(self) -> None:
        weights = np.full((1, 8, 3), -128, np.int8)
        panels = Panels(3, 8, 1)
        for chosen in (Multiplication(EXACT, panels), Multiplication(MADDUBS, panels, 2)):
            packed = PackedWeights.pack_bytes(weights, 7, chosen)
            assert (len(packed.arrays), packed.depth) == (2, 1)
        assert (
            len(PackedWeights.pack_bytes(weights, 7, Multiplication(MADDUBS, panels)).arrays) == 5
        )
