"""The moving average forgets an outlier that only one sample has."""

import pytest

from ingot.calibration.ranges import Range, choose_range
from tests.calibration.ranges.test_ranges import statistics_of


def test_samples_that_agree_give_their_range():
    assert choose_range(statistics_of(*[[-1.0, 2.0]] * 9), "moving_average") == Range(-1.0, 2.0)


def test_an_outlier_counts_by_the_weight_of_its_sample():
    usual = [[-1.0, 1.0]] * 20
    found = choose_range(statistics_of(*usual, [-1.0, 101.0]), "moving_average")
    assert (found.low, found.high) == (-1.0, pytest.approx(2.0))
