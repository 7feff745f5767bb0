"""The percentile leaves outside what it is told to, to within a bin."""

import numpy as np
import pytest

from ingot.calibration.ranges.percentile import Percentile, quantile
from tests.calibration.ranges.test_ranges import statistics_of

NORMAL = np.random.default_rng(0).normal(size=100_000).astype(np.float32)


@pytest.mark.parametrize("percentage", [90.0, 99.0, 99.9, 99.99, 100.0])
def test_so_many_values_lie_within(percentage):
    statistics = statistics_of(NORMAL)
    for symmetric in (False, True):
        found = Percentile(percentage).choose(statistics, symmetric=symmetric, bits=8)
        within = np.mean((found.low <= NORMAL) & (found.high >= NORMAL))
        assert 100 * within == pytest.approx(percentage, abs=0.1)


def test_both_ends_share_what_is_outside():
    found = Percentile(90.0).choose(statistics_of(NORMAL), symmetric=False, bits=8)
    assert np.mean(found.low > NORMAL) == pytest.approx(0.05, abs=1e-3)
    assert np.mean(found.high < NORMAL) == pytest.approx(0.05, abs=1e-3)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_data_of_one_sign_is_cut_at_its_one_end(sign):
    values = sign * np.abs(NORMAL)
    found = Percentile(90.0).choose(statistics_of(values), symmetric=False, bits=8)
    assert np.mean((values >= found.low) & (values <= found.high)) == pytest.approx(0.9, abs=1e-3)


def test_quantiles_do_not_reach_over_a_gap():
    histogram = statistics_of(np.concatenate([np.linspace(0, 1, 1000), [100.0]])).histogram
    assert quantile(histogram, 0.99) < 1.1
    assert quantile(histogram, 1.0) >= 100.0
