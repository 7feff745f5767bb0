"""Which taps of an output fall on the image and which into the padding, and where that changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tvm.sym import Analyzer

from ingot.targets.cpu.kernels.tiling.axes import Axis, segments
from ingot.targets.cpu.kernels.tiling.tiles import split_rows
from ingot.targets.cpu.kernels.writing.emission import index
from tests.targets.cpu.processors import AVX2

axes = st.builds(
    Axis,
    size=st.integers(1, 40),
    result=st.integers(1, 40),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 3),
    padding=st.integers(0, 8),
    dilation=st.integers(1, 3),
)


@given(axes)
def test_tiles_of_a_segment_see_the_same_taps(axis: Axis) -> None:
    found = segments(axis, split_rows(axis.result, 2, AVX2))
    outputs = []
    for segment in found:
        for tile in range(segment.count):
            start = segment.start + tile * segment.pixels
            outputs += range(start, start + segment.pixels)
            for tap, rows in enumerate(segment.rows_by_tap):
                inside = [p for p in range(segment.pixels) if axis.inside(start + p, tap)]
                assert list(rows) == inside
    assert outputs == list(range(axis.result))


@given(axes)
def test_bounds_of_the_taps_are_those_inside(axis: Axis) -> None:
    analyzer = Analyzer()
    for output in range(axis.result):
        low, high = (int(analyzer.simplify(bound)) for bound in axis.taps(index(output)))
        inside = [tap for tap in range(axis.kernel) if axis.inside(output, tap)]
        assert list(range(low, high)) == inside


@given(axes)
def test_an_axis_is_padded_where_some_tap_falls_outside(axis: Axis) -> None:
    outside = [
        (output, tap)
        for output in range(axis.result)
        for tap in range(axis.kernel)
        if not axis.inside(output, tap)
    ]
    assert axis.padded == bool(outside)
