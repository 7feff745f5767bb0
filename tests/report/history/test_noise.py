"""The test for changes: its estimates, and how often it finds what is there and what is not."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.report.history.noise import FEWEST_RUNS, bound, location, spread

FINITE = st.floats(-1e6, 1e6)


def statistic(before, after):
    return (np.median(after, axis=1) - location(before)) / spread(before)


class TestEstimates:
    @given(st.lists(FINITE, min_size=1, max_size=9))
    def test_the_location_is_the_median_of_the_means_of_pairs(self, values):
        pairs = itertools.combinations_with_replacement(values, 2)
        expected = np.median([(a + b) / 2 for a, b in pairs])
        assert location(np.array([values]))[0] == pytest.approx(expected, abs=1e-9)

    @given(st.lists(FINITE, min_size=2, max_size=9))
    def test_the_spread_is_a_low_distance_of_pairs(self, values):
        distances = sorted(abs(a - b) for a, b in itertools.combinations(values, 2))
        half = len(values) // 2 + 1
        expected = 2.2219 * distances[half * (half - 1) // 2 - 1]
        assert spread(np.array([values]))[0] == pytest.approx(expected)

    def test_of_normal_noise_the_spread_is_the_standard_deviation(self):
        drawn = np.random.default_rng(0).normal(0.0, 3.0, (400, 50))
        assert np.mean(spread(drawn)) == pytest.approx(3.0, rel=0.08)

    @pytest.mark.parametrize("disturbed", [1, 2])
    def test_disturbed_runs_move_neither_far(self, disturbed):
        values = np.random.default_rng(1).normal(0.0, 1.0, (1, 12))
        worse = values.copy()
        worse[0, :disturbed] = 1e9
        assert abs(location(worse)[0] - location(values)[0]) < 1.5
        assert spread(worse)[0] < 4 * spread(values)[0]


@settings(max_examples=8)
@given(st.integers(FEWEST_RUNS, 12), st.sampled_from([1, 2, 3]), st.sampled_from([0.05, 0.01]))
def test_fewer_false_alarms_take_a_wider_bound(earlier, new, alpha):
    assert 0 < bound(earlier, new, 2 * alpha) <= bound(earlier, new, alpha)


NOISE = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "t4": lambda rng, shape: rng.standard_t(4, size=shape),
}


@pytest.mark.parametrize("law", NOISE)
@pytest.mark.parametrize("earlier", [FEWEST_RUNS, 10, 20])
@pytest.mark.parametrize("new", [1, 3])
def test_noise_alone_exceeds_the_bound_no_more_often_than_is_said(law, earlier, new):
    """At 1 % of 20,000 cases, four standard deviations are 0.28 points."""
    rng = np.random.default_rng(7)
    noise = NOISE[law](rng, (20_000, earlier + new))
    found = statistic(noise[:, :earlier], noise[:, earlier:]) > bound(earlier, new, 0.01)
    assert np.mean(found) <= 0.0128


LAWS = {
    "normal": NOISE["normal"],
    "Student's t, 3 degrees of freedom": lambda rng, shape: rng.standard_t(3, size=shape),
    "normal, one run in ten disturbed five times as much": lambda rng, shape: (
        rng.normal(size=shape) * np.where(rng.random(shape) < 0.1, 5.0, 1.0)
    ),
}
PAGE = Path(__file__).resolve().parents[3] / "docs" / "budgets.md"
# The share that each of four series has of the five percent that are the default.
SHARE = 0.05 / 4


def rows_of_page(first_cell, runs):
    """The percentages of a table of the page, by the first cell and the numbers of runs."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_cell} |"))
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines[begin + 2 :]):
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for (earlier, new), cell in zip(runs, cells, strict=True):
            yield pytest.param(
                name, earlier, new, float(cell.removesuffix(" %")), id=f"{name}-{earlier}-{new}"
            )


@pytest.mark.parametrize(
    ("law", "earlier", "new", "percent"),
    rows_of_page("noise from run to run", [(10, 1), (20, 1), (20, 3)]),
)
def test_false_alarms_are_those_of_the_page(law, earlier, new, percent):
    noise = LAWS[law](np.random.default_rng(9), (20_000, earlier + new))
    found = statistic(noise[:, :earlier], noise[:, earlier:]) > bound(earlier, new, SHARE)
    assert 400 * np.mean(found) == pytest.approx(percent, abs=1.5)  # four standard deviations


@pytest.mark.parametrize(
    ("deviation", "earlier", "new", "percent"),
    rows_of_page("noise", [(6, 1), (10, 1), (20, 1), (10, 3), (20, 3)]),
)
def test_a_slowdown_of_a_tenth_is_found_as_often_as_the_page_says(deviation, earlier, new, percent):
    noise = np.random.default_rng(8).normal(0.0, 1.0, (10_000, earlier + new))
    noise *= float(deviation.removesuffix(" %")) / 100
    noise[:, earlier:] += np.log(1.1)
    found = statistic(noise[:, :earlier], noise[:, earlier:]) > bound(earlier, new, SHARE)
    assert 100 * np.mean(found) == pytest.approx(percent, abs=2.0)
