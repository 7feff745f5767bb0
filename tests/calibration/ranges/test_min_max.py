"""Min-max clips nothing."""

import pytest

from ingot.calibration.ranges import Range, choose_range
from tests.calibration.ranges.test_ranges import statistics_of


@pytest.mark.parametrize(
    ("values", "asymmetric", "symmetric"),
    [
        ([-1.0, 3.0], Range(-1.0, 3.0), Range(-3.0, 3.0)),
        ([1.0, 3.0], Range(0.0, 3.0), Range(-3.0, 3.0)),
        ([-3.0, -1.0], Range(-3.0, 0.0), Range(-3.0, 3.0)),
    ],
)
def test_the_range_is_that_of_all_values_and_zero(values, asymmetric, symmetric):
    statistics = statistics_of(values)
    assert choose_range(statistics, "min_max") == asymmetric
    assert choose_range(statistics, "min_max", symmetric=True) == symmetric
