"""Entropy keeps the bulk of a distribution and gives up its thin tail."""

import numpy as np
import pytest

from ingot.calibration.ranges import choose_range
from tests.calibration.ranges.test_ranges import statistics_of

NORMAL = np.random.default_rng(0).normal(size=200_000)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("outlier", [50.0, -100.0])
def test_a_few_outliers_are_cut_off(symmetric, outlier):
    values = np.concatenate([NORMAL, np.full(5, outlier)])
    found = choose_range(statistics_of(values), "entropy", symmetric=symmetric)
    assert 3.0 < found.high < 8.0
    assert -8.0 < found.low < -3.0


def test_a_uniform_distribution_is_kept_whole():
    values = np.random.default_rng(0).uniform(-1, 1, 200_000)
    found = choose_range(statistics_of(values), "entropy", symmetric=True)
    assert found.high == pytest.approx(1.0, abs=0.02)


def test_zeros_do_not_count():
    """A ReLU's zeros are exact on any grid; counted, they would outweigh all that is above."""
    above = np.abs(NORMAL)
    alone = choose_range(statistics_of(above), "entropy")
    with_zeros = choose_range(statistics_of(np.concatenate([above, np.zeros(10**6)])), "entropy")
    assert with_zeros.high == pytest.approx(alone.high)


def test_data_far_from_zero_is_kept():
    values = np.random.default_rng(0).uniform(1e6, 1e6 + 1, 10_000)
    found = choose_range(statistics_of(values), "entropy")
    assert found.high == pytest.approx(1e6 + 1, rel=1e-3)
