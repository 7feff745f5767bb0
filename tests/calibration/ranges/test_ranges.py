"""What holds for every range method, and how a method is named."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.calibration.histogram import HistogramBuilder
from ingot.calibration.observer import Observer
from ingot.calibration.ranges import METHODS, Range, choose_range, range_method
from ingot.calibration.ranges.percentile import Percentile
from ingot.errors import UsageError

VALUES = hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32))


def statistics_of(*samples):
    observer = Observer("t")
    for sample in samples:
        observer.update(np.asarray(sample, np.float32), "sample")
    return observer.finish()


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    @given(values=VALUES, bits=st.sampled_from([4, 8, 16]))
    def test_an_asymmetric_range_holds_zero_and_lies_within_the_data(self, method, values, bits):
        found = choose_range(statistics_of(values), method, bits=bits)
        assert min(float(values.min()), 0.0) <= found.low <= 0.0
        assert 0.0 <= found.high <= max(float(values.max()), 0.0)

    @given(values=VALUES, bits=st.sampled_from([4, 8]))
    def test_a_symmetric_range_is_symmetric_within_the_largest_magnitude(
        self, method, values, bits
    ):
        found = choose_range(statistics_of(values), method, symmetric=True, bits=bits)
        assert found.low == -found.high
        assert 0.0 <= found.high <= float(np.abs(values).max())

    @pytest.mark.parametrize("symmetric", [False, True])
    def test_a_tensor_of_zeros_has_the_empty_range(self, method, symmetric):
        statistics = statistics_of(np.zeros(10))
        assert choose_range(statistics, method, symmetric=symmetric) == Range(0.0, 0.0)

    @pytest.mark.parametrize("value", [3.0, -3.0])
    def test_a_constant_is_represented(self, method, value):
        found = choose_range(statistics_of(np.full(10, value)), method)
        assert found.low == pytest.approx(min(value, 0.0), rel=1e-6)
        assert found.high == pytest.approx(max(value, 0.0), rel=1e-6)

    def test_what_is_never_negative_keeps_all_levels_above_zero(self, method):
        values = np.maximum(np.random.default_rng(0).normal(size=20_000), 0)
        found = choose_range(statistics_of(values), method)
        assert found.low == 0.0
        assert found.high > 2.0


@pytest.mark.parametrize("bits", [1, 0, -8])
def test_too_few_bits_are_refused(bits):
    with pytest.raises(UsageError, match=f"{bits} bits are too few"):
        choose_range(statistics_of([1.0]), bits=bits)


def test_a_method_can_be_given_as_such():
    values = np.linspace(0, 1, 10_001)
    by_name = choose_range(statistics_of(values), "percentile:90")
    assert choose_range(statistics_of(values), Percentile(90)) == by_name
    assert by_name.high == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("minmax", "no range method 'minmax'; did you mean 'min_max'"),
        ("", "no range method ''; possible are min_max, moving_average"),
        ("mse:3", "range method 'mse' takes no option, and 'mse:3' gives one"),
        ("percentile:many", "'many' is no percentage; write percentile:99.9"),
        ("percentile:50", "a percentile of 50 is not possible"),
        ("percentile:101", "a percentile of 101 is not possible"),
        ("percentile:nan", "a percentile of nan is not possible"),
    ],
)
def test_what_is_no_method_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        range_method(spec)


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if not method().uses_histogram]
)
def test_a_method_that_looks_at_extremes_needs_no_histogram(name):
    counted = statistics_of([-1.0, 0.5, 3.0])
    extremes = dataclasses.replace(counted, histogram=HistogramBuilder().finish())
    assert choose_range(extremes, name) == choose_range(counted, name)
