"""The histogram is exact: neither order nor pieces nor a first guess of the range show in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.calibration.histogram import BINS, HistogramBuilder

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
ARRAYS = hnp.arrays(np.float32, st.integers(1, 40), elements=FLOATS)
PIECES = st.lists(ARRAYS, min_size=1, max_size=6)


def histogram_of(pieces, bins=BINS):
    builder = HistogramBuilder(bins)
    for piece in pieces:
        builder.add(piece, float(piece.min()), float(piece.max()))
    return builder.finish()


@given(PIECES, st.sampled_from([4, 64, BINS]))
def test_every_value_is_counted_in_the_bin_where_it_lies(pieces, bins):
    histogram = histogram_of(pieces, bins)
    values = np.concatenate(pieces).astype(np.float64)
    numbers = np.floor(values / histogram.width).astype(np.int64) - histogram.first
    expected = np.bincount(numbers, minlength=len(histogram.counts))
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.total == values.size
    assert histogram.zeros == np.count_nonzero(values == 0)


@given(PIECES, st.randoms())
def test_order_and_pieces_do_not_matter(pieces, random):
    shuffled = list(np.concatenate(pieces))
    random.shuffle(shuffled)
    first, second = histogram_of(pieces), histogram_of([np.array(shuffled, np.float32)])
    assert (first.first, first.width, first.zeros) == (second.first, second.width, second.zeros)
    np.testing.assert_array_equal(first.counts, second.counts)


@given(PIECES)
def test_zero_is_an_edge_or_lies_outside(pieces):
    edges = histogram_of(pieces).edges
    assert 0.0 in edges or edges[0] > 0 or edges[-1] < 0


@pytest.mark.parametrize("spread", [1e-6, 1.0, 12345.0])
def test_bins_are_as_narrow_as_their_number_allows(spread):
    values = np.linspace(-spread, 2 * spread, 50_000, dtype=np.float32)
    assert BINS // 2 < len(histogram_of([values]).counts) <= BINS


def test_a_late_outlier_merges_bins_and_loses_no_count():
    small, outlier = np.linspace(0, 1, 1000, dtype=np.float32), np.array([1e6], np.float32)
    histogram = histogram_of([small, outlier])
    assert histogram.counts[0] == 1000
    assert histogram.counts[-1] == 1
    assert histogram.edges[-1] > 1e6 >= histogram.edges[-2]


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-42, 3e38])
def test_equal_values_lie_in_one_bin(value):
    histogram = histogram_of([np.full(5, value, np.float32)])
    assert histogram.counts.tolist() == [5]
    assert histogram.edges[0] <= np.float32(value) < histogram.edges[1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_is_counted(dtype):
    histogram = histogram_of([np.array([-1.0, 0.0, 0.5, 2.0], dtype)])
    assert histogram.total == 4
    assert histogram.edges[0] == -1.0
    assert histogram.zeros == 1


def test_no_values_give_an_empty_histogram():
    histogram = HistogramBuilder().finish()
    assert (histogram.total, len(histogram.edges), len(histogram.centers)) == (0, 1, 0)
