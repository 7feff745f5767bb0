"""Rows of a matrix that leading axes make: coordinates, first rows of tiles, blocks."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingot.targets.cpu.kernels.tiling.matrix_rows import (
    decode_row,
    dynamic_blocks,
    dynamic_groups,
    first_row_of,
    row_extent,
)
from ingot.targets.cpu.kernels.tiling.tiles import split_evenly
from ingot.targets.cpu.kernels.writing.dimension import simplified
from ingot.targets.cpu.kernels.writing.emission import index

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(SIZES)
def test_a_row_has_the_coordinates_of_its_number(sizes: list[int]) -> None:
    dimensions = [index(size) for size in sizes]
    assert row_extent(dimensions) == math.prod(sizes)
    for row in range(math.prod(sizes)):
        coordinates = [simplified(at) for at in decode_row(index(row), dimensions)]
        assert coordinates == list(np.unravel_index(row, sizes))


@given(extent=st.integers(1, 60), parts=st.integers(1, 9))
def test_tiles_follow_each_other(extent: int, parts: int) -> None:
    runs = split_evenly(extent, min(parts, extent))
    heights = [run.rows for run in runs for _ in range(run.count)]
    firsts = [simplified(first_row_of(runs, index(tile))) for tile in range(len(heights) + 1)]
    assert firsts == np.cumsum([0, *heights]).tolist()
    assert firsts[-1] == extent


@given(extent=st.integers(0, 300), rows=st.integers(1, 9), tiles=st.integers(1, 8))
def test_blocks_have_each_full_tile_once(extent: int, rows: int, tiles: int) -> None:
    blocks, bounds_of = dynamic_blocks(index(extent), rows, tiles)
    found: list[int] = []
    for block in range(int(simplified(blocks))):
        low, high = (int(simplified(bound)) for bound in bounds_of(index(block)))
        found += range(low, high)
    assert found == list(range(extent // rows))


@given(st.integers(1, 200))
def test_panels_are_cut_into_the_most_equal_parts(panels: int) -> None:
    groups = dynamic_groups(panels, 32)
    idle = {parts: -(-panels // parts) * parts - panels for parts in range(1, min(panels, 32) + 1)}
    assert idle[groups] == min(idle.values())
    assert not any(idle[more] == idle[groups] for more in idle if more > groups)
