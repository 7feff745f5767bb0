"""The range of least squared error is the best of all on the values that it was chosen for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.calibration.ranges import METHODS, choose_range
from ingot.calibration.ranges.base import Range, levels, without_zeros
from ingot.calibration.ranges.mse import squared_error
from tests.calibration.ranges.test_ranges import statistics_of

VALUES = hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e4, 1e4, width=32))


def error_of(statistics, found, *, symmetric=False, bits=8):
    return squared_error(
        found,
        statistics.histogram.centers,
        without_zeros(statistics.histogram),
        levels(symmetric=symmetric, bits=bits),
    )


@given(VALUES, st.booleans(), st.sampled_from([2, 4, 8]))
def test_never_worse_than_min_max(values, symmetric, bits):
    statistics = statistics_of(values)
    chosen = {
        method: choose_range(statistics, method, symmetric=symmetric, bits=bits)
        for method in ("mse", "min_max")
    }
    errors = {
        method: error_of(statistics, found, symmetric=symmetric, bits=bits)
        for method, found in chosen.items()
    }
    assert errors["mse"] <= errors["min_max"]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["normal", "laplace", "relu", "gelu", "outliers"])
def test_no_other_method_is_better(kind, bits):
    generator = np.random.default_rng(0)
    normal = generator.normal(size=50_000)
    values = {
        "normal": normal,
        "laplace": generator.laplace(size=50_000),
        "relu": np.maximum(normal, 0),
        "gelu": np.maximum(3 * normal, -0.17),
        "outliers": np.where(generator.random(50_000) < 1e-4, 40.0, normal),
    }[kind]
    statistics = statistics_of(values)
    errors = {
        method: error_of(statistics, choose_range(statistics, method, bits=bits), bits=bits)
        for method in METHODS
    }
    assert errors["mse"] <= min(errors.values()) * 1.001


def test_fewer_bits_clip_more():
    statistics = statistics_of(np.random.default_rng(0).laplace(size=50_000))
    bounds = [choose_range(statistics, "mse", symmetric=True, bits=bits).high for bits in (3, 4, 8)]
    assert bounds == sorted(bounds)
    # Banner et al. 2019, figure 1: about 5.03 standard deviations / sqrt(2) for 4 bits.
    assert bounds[1] == pytest.approx(5.03, rel=0.15)


def test_the_error_is_that_of_the_grid_whose_zero_is_exact():
    values = np.array([-1.0, 0.0, 0.3, 2.0])
    # Three steps of 1 between -1 and 2: only 0.3 is off, by 0.3.
    assert squared_error(Range(-1.0, 2.0), values, np.ones(4), 4) == pytest.approx(0.09)
    # Cut at 1: 2.0 is off by 1.0 as well; steps of 0.5 leave 0.3 off by 0.2.
    assert squared_error(Range(0.0, 1.0), values, np.array([0, 1, 1, 1]), 3) == pytest.approx(1.04)
