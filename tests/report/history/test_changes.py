"""Changes beyond the noise: found where they were put in, and not where there is noise alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.errors import UsageError
from ingot.report.history.changes import CheckSettings, check, current, series_of
from tests.report.history.conftest import make_found, make_run, make_runs

NOISY = ("latency_p50_ms", "latency_p99_ms", "throughput_per_s", "memory_mb")


def judge(recorded, **options):
    """The one judgement on runs of one series."""
    (judgement,) = check(series_of(recorded), CheckSettings(**options))
    return judgement


def noisy_values(rng, count, deviation=0.02, middle=10.0):
    return middle * np.exp(rng.normal(0.0, deviation, count))


class TestSeries:
    def test_what_differs_in_anything_that_matters_is_not_compared(self):
        plain = make_run()
        others = [
            dataclasses.replace(plain, **{field: "other"})
            for field in ("model", "recipe", "target", "setting", "machine")
        ]
        others.append(make_run(make_found("memory_mb")))
        others.append(make_run(make_found(basis="other data")))
        assert len(series_of([plain, *others])) == 1 + len(others)

    def test_commits_times_and_facts_do_not_part_them(self):
        runs = [make_run(commit="a"), make_run(commit="b", facts={}, recorded="2027-01-01")]
        (series,) = series_of(runs)
        assert series.last.commit == "b"

    def test_current_is_what_was_measured_on_the_newest_commit_of_each_machine(self):
        runs = [
            make_run(model="gone", commit="a", number=1),
            make_run(model="kept", commit="a", number=2),
            make_run(model="kept", commit="b", number=3),
            make_run(model="new", commit="b", number=4),
            make_run(model="far", commit="a", machine="other", number=5),
        ]
        series = series_of(runs)

        def models(machine):
            return [entry.last.model for entry in current(series, machine, tails=False)]

        assert models(runs[0].machine) == ["kept", "new"]
        assert models(None) == ["kept", "new", "far"]
        assert models("a third") == []

    def test_tails_are_among_them_when_asked_for(self):
        series = series_of([make_run(make_found(), make_found("latency_p99_ms"))])
        for tails, count in ((False, 1), (True, 2)):
            assert len(current(series, series[0].last.machine, tails=tails)) == count


class TestOutcome:
    BEFORE = [10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98, 10.1]

    @pytest.mark.parametrize(
        ("quantity", "value", "outcome"),
        [
            ("latency_p50_ms", 11.5, "worse"),
            ("latency_p50_ms", 8.7, "better"),
            ("latency_p50_ms", 10.1, "as before"),
            ("throughput_per_s", 8.7, "worse"),
            ("throughput_per_s", 11.5, "better"),
            ("speed_x", 8.7, "worse"),
            ("memory_mb", 11.5, "worse"),
        ],
    )
    def test_has_the_direction_of_the_quantity(self, quantity, value, outcome):
        assert judge(make_runs([*self.BEFORE, value], quantity)).outcome == outcome

    def test_says_what_is_usual_how_much_it_changed_and_from_where_it_would_be_worse(self):
        found = judge(make_runs([*self.BEFORE, 11.5]))
        assert found.usual == pytest.approx(10.01, abs=0.02)
        assert found.change == pytest.approx(11.5 / found.usual - 1)
        assert 0.03 <= found.bound < found.change
        assert (found.earlier, found.value) == (8, 11.5)

    def test_a_change_too_small_to_matter_is_none_however_clear(self):
        runs = make_runs([10.0] * 8 + [10.2])
        assert judge(runs).outcome == "as before"
        assert judge(runs, least=0.01).outcome == "worse"

    def test_how_much_matters_is_a_factor_either_way(self):
        for quantity, value in (("latency_p50_ms", 25.0), ("throughput_per_s", 4.0)):
            assert judge(make_runs([10.0] * 8 + [value], quantity), least=1.0).outcome == "worse"
        for quantity, value in (("latency_p50_ms", 19.0), ("throughput_per_s", 5.5)):
            found = judge(make_runs([10.0] * 8 + [value], quantity), least=1.0)
            assert found.outcome == "as before"

    def test_one_disturbed_run_among_the_earlier_ones_hides_nothing(self):
        disturbed = [*self.BEFORE[:3], 40.0, *self.BEFORE[4:]]
        assert judge(make_runs([*disturbed, 11.5])).outcome == "worse"

    def test_noise_is_not_less_than_what_the_runs_say_of_themselves(self):
        """Runs that agree by chance do not make a narrow bound where each is uncertain."""
        values = [10.0] * 8 + [11.0]
        assert judge(make_runs(values, error=0.001)).outcome == "worse"
        assert judge(make_runs(values, error=0.1)).outcome == "as before"
        unsure = make_runs([10.0] * 8)
        unsure.append(make_run(make_found(value=11.0, error=0.1), number=9))
        assert judge(unsure).outcome == "as before"

    def test_a_tail_whose_upper_end_is_open_is_judged_by_its_lower_one(self):
        values = [10.0] * 8 + [14.0]
        for error, outcome in ((0.01, "worse"), (0.3, "as before")):
            figures = [make_found("latency_p99_ms", v, error, high=None) for v in values]
            assert judge([make_run(figure) for figure in figures]).outcome == outcome

    @pytest.mark.parametrize(
        ("quantity", "before", "value", "outcome"),
        [
            ("size_mb", [5.0], 5.2, "worse"),
            ("size_mb", [5.0], 5.04, "as before"),
            ("size_mb", [5.0, 5.2], 5.2, "as before"),
            ("size_mb", [5.0, 5.0], 4.0, "better"),
            ("accuracy top-1", [91.5], 91.3, "worse"),
            ("accuracy top-1", [91.5], 91.45, "as before"),
            ("accuracy top-1", [91.5, 91.2, 91.5], 91.2, "as before"),
            ("accuracy top-1", [-0.5], -0.6, "worse"),
            ("accuracy top-1", [0.0], -0.1, "worse"),
            ("accuracy top-1", [0.0], 0.0, "as before"),
        ],
    )
    def test_what_does_not_vary_from_run_to_run_needs_one_earlier_run(
        self, quantity, before, value, outcome
    ):
        assert judge(make_runs([*before, value], quantity)).outcome == outcome

    @pytest.mark.parametrize(
        ("quantity", "count", "runs"),
        [("latency_p50_ms", 6, 1), ("latency_p50_ms", 8, 3), ("size_mb", 1, 1), ("size_mb", 3, 3)],
    )
    def test_too_few_runs_are_said_to_be_too_few(self, quantity, count, runs):
        found = judge(make_runs([10.0] * count, quantity), runs=runs)
        assert found.outcome == "not enough runs"
        assert (found.usual, found.change, found.bound) == (None, None, None)
        assert judge(make_runs([10.0] * (count + 1), quantity), runs=runs).usual == pytest.approx(
            10.0
        )

    def test_the_median_of_several_new_runs_decides(self):
        assert judge(make_runs([*self.BEFORE, 10.0, 40.0, 10.1]), runs=3).outcome == "as before"
        assert judge(make_runs([*self.BEFORE, 11.0, 10.9, 11.1]), runs=3).outcome == "worse"

    def test_only_the_last_runs_count(self):
        """What was fast long ago is no measure any more."""
        values = [5.0] * 30 + self.BEFORE + [10.0]
        assert judge(make_runs(values), against=8).outcome == "as before"
        assert judge(make_runs(values), against=38).outcome == "worse"

    def test_a_change_that_was_accepted_is_left_behind_with_since(self):
        runs = make_runs([5.0] * 8, commit="old")
        later = make_runs([*self.BEFORE, 10.0], commit="new", recorded="2026-12-24T00:00:00+00:00")
        both = [*runs, *later]
        assert judge(both, against=16).outcome == "worse"
        for since in ("new", "ne", "2026-12-01", "2026-12-24T00:00"):
            assert judge(both, against=16, since=since).outcome == "as before"
        with pytest.raises(UsageError, match="no run of this history is since 'never'"):
            judge(both, since="never")
        with pytest.raises(UsageError, match="is since '2027-01'"):
            judge(both, since="2027-01")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": 0}, "0 runs cannot be judged: give 1 to 50"),
        ({"runs": 51}, "51 runs cannot be judged"),
        ({"against": 5}, "5 earlier runs cannot tell the noise: give 6 to 50"),
        ({"against": 51}, "51 earlier runs"),
        ({"false_alarms": 0.0}, "0 % of checks"),
        ({"false_alarms": 0.5}, "50 % of checks"),
        ({"false_alarms": float("nan")}, "nan % of checks"),
        ({"least": -0.01}, "-1 % is not possible"),
        ({"least": float("inf")}, "inf % is not possible"),
    ],
)
def test_impossible_numbers_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        CheckSettings(**options)


def whole_run(rng, deviation, law, factor=1.0, number=None):
    """A run of all quantities, with noise of its own in each that is noisy."""
    draw = {"normal": rng.normal, "t4": lambda *a: a[1] * rng.standard_t(4) / np.sqrt(2)}[law]
    figures = [
        make_found(name, 10.0 * np.exp(draw(0.0, deviation)) * factor, deviation / 4)
        for name in NOISY
    ]
    return make_run(*figures, make_found("size_mb", 3.0), number=number)


@pytest.mark.parametrize("law", ["normal", "t4"])
@pytest.mark.parametrize(("earlier", "runs"), [(8, 1), (20, 1), (12, 3)])
def test_checks_of_what_has_not_changed_fail_no_more_often_than_is_said(law, earlier, runs):
    """Five percent of whole checks, of four noisy quantities each; 400 of them, 3.3 deviations."""
    rng = np.random.default_rng(11)
    options = CheckSettings(runs=runs, false_alarms=0.05, least=0.0)
    failed = 0
    for _ in range(400):
        drawn = [whole_run(rng, 0.03, law, number=i) for i in range(earlier + runs)]
        failed += any(found.outcome == "worse" for found in check(series_of(drawn), options))
    assert failed <= 400 * 0.05 + 3.3 * np.sqrt(400 * 0.05 * 0.95)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), earlier=st.integers(10, 20))
def test_injected_slowness_is_found(seed, earlier):
    """A tenth slower, where runs differ by half a percent."""
    rng = np.random.default_rng(seed)
    drawn = [whole_run(rng, 0.005, "normal", number=i) for i in range(earlier)]
    drawn.append(whole_run(rng, 0.005, "normal", 1.1, number=earlier))
    found = {
        each.series.figure.quantity: each.outcome
        for each in check(series_of(drawn), CheckSettings())
    }
    assert found["latency_p50_ms"] == found["memory_mb"] == "worse"
    assert found["throughput_per_s"] == "better"
    assert found["size_mb"] == "as before"


@settings(max_examples=40)
@given(
    values=st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=12),
    quantity=st.sampled_from(NOISY),
    factor=st.floats(0.01, 100.0),
)
def test_the_unit_of_a_quantity_decides_nothing(values, quantity, factor):
    found = judge(make_runs(values, quantity))
    scaled = judge(make_runs([value * factor for value in values], quantity))
    assert found.earlier == scaled.earlier
    if found.change is not None and abs(abs(found.change) - found.bound) > 1e-6:
        assert found.outcome == scaled.outcome
