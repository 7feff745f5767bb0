"""Two traces: what differs is found, and what is noise is called so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ingot.errors import UsageError
from ingot.report.traces.comparison import Verdict, compare_traces
from ingot.report.traces.events import Event, Trace
from ingot.report.traces.nesting import nested
from ingot.report.traces.reading import read_trace
from tests.report.traces.sample import session_trace


def trace(**stages: np.ndarray) -> Trace:
    return Trace(
        nested(
            Event("s", name, 10_000_000 * index, int(length * 1e3), (0, place), None, {})
            for place, (name, lengths) in enumerate(stages.items())
            for index, length in enumerate(lengths)
        )
    )


def drifting(count: int, seed: int, median: float = 100.0) -> np.ndarray:
    """Times of a machine whose speed drifts: neighbours are alike."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=count)
    for index in range(1, count):
        steps[index] = 0.6 * steps[index - 1] + 0.8 * steps[index]
    return median * np.exp(0.05 * steps)


def verdicts(first: Trace, second: Trace) -> dict[str, Verdict]:
    return {row.name: row.verdict for row in compare_traces([first], [second])}


def test_injected_slowness_is_found_and_the_rest_is_noise(tmp_path: Path) -> None:
    slow = session_trace(150, kernel_us={"dense": 10.8}, seed=1).save(tmp_path / "slow.json")
    usual = session_trace(150, seed=2).save(tmp_path / "usual.json")
    rows = compare_traces([read_trace(slow)], [read_trace(usual)])
    found = {row.name: row for row in rows}
    dense = found["dense"]
    assert dense.verdict == Verdict.SLOWER_RUN
    assert 1.0 < dense.difference_us < 2.6
    assert 0 < dense.low_us < dense.difference_us < dense.high_us
    assert {found[name].verdict for name in ("conv2d_relu", "softmax", "bind")} == {Verdict.NOISE}
    assert found["load"].verdict == Verdict.FEW
    assert rows[-1].verdict in (Verdict.NOISE, Verdict.FEW)
    assert verdicts(read_trace(usual), read_trace(slow))["dense"] == Verdict.FASTER_RUN


def test_a_drifting_machine_alone_is_noise() -> None:
    stages = range(10)
    wrong = 0
    for seed in range(10):
        first = trace(**{f"s{i}": drifting(150, 1000 * seed + i) for i in stages})
        second = trace(**{f"s{i}": drifting(150, 1000 * seed + 500 + i) for i in stages})
        wrong += set(verdicts(first, second).values()) != {Verdict.NOISE}
    assert wrong <= 2


@pytest.mark.parametrize(
    ("here", "there", "verdict"),
    [(49, 100, Verdict.FEW), (50, 50, Verdict.NOISE), (0, 3, Verdict.GONE), (3, 0, Verdict.NEW)],
)
def test_numbers_of_events(here: int, there: int, verdict: Verdict) -> None:
    first, second = trace(run=drifting(here, 1)), trace(run=drifting(there, 2))
    (row,) = compare_traces([first], [second])
    assert (row.verdict, row.count, row.reference_count) == (verdict, here, there)
    assert (row.low_us is None) == (verdict != Verdict.NOISE)
    assert (row.difference_us is None) == (0 in (here, there))


def test_a_trace_against_itself_differs_in_nothing() -> None:
    one = trace(run=drifting(200, 1), same=np.full(60, 5.0))
    for row in compare_traces([one], [one]):
        assert (row.difference_us, row.total_difference_us, row.verdict) == (0, 0, Verdict.NOISE)


def runs(count: int, seed: int, **medians: float) -> list[Trace]:
    """Traces of processes in each of which a stage has a speed of its own."""
    rng = np.random.default_rng(seed)
    return [
        trace(
            **{
                name: drifting(60, int(rng.integers(1 << 30)), median * rng.uniform(0.85, 1.15))
                for name, median in medians.items()
            }
        )
        for _ in range(count)
    ]


def test_several_traces_tell_what_differs_from_process_to_process() -> None:
    usual = runs(8, 1, short=10.0, long=500.0, same=40.0)
    again = runs(8, 2, short=10.0, long=500.0, same=40.0)
    assert {row.verdict for row in compare_traces(again, usual)} == {Verdict.NOISE}
    # One of each cannot know.
    assert Verdict.NOISE not in {row.verdict for row in compare_traces(again[:1], usual[:1])}
    slow = compare_traces(runs(8, 3, short=16.0, long=500.0, same=40.0), usual)
    assert [(row.name, row.verdict) for row in slow[:1]] == [("short", Verdict.SLOWER)]
    assert 3.5 < slow[0].difference_us < 8.5
    assert slow[0].low_us < slow[0].difference_us < slow[0].high_us
    assert {row.verdict for row in slow[1:]} == {Verdict.NOISE}
    assert slow[0].count == 8 * 60


def test_a_stage_that_some_of_several_traces_lack_is_not_judged() -> None:
    some = [trace(run=drifting(60, 1)), trace(run=drifting(60, 2)), trace(other=np.ones(60))]
    found = {row.name: row.verdict for row in compare_traces(some, some)}
    assert found == {"run": Verdict.FEW, "other": Verdict.FEW}


def test_several_traces_without_any_difference() -> None:
    same = [trace(run=np.full(60, 5.0)) for _ in range(3)]
    (row,) = compare_traces(same, same)
    assert (row.difference_us, row.low_us, row.high_us, row.verdict) == (0, 0, 0, Verdict.NOISE)


@pytest.mark.parametrize(("here", "there"), [(1, 3), (3, 1), (2, 2), (2, 5)])
def test_a_few_traces_are_refused(here: int, there: int) -> None:
    one = trace(run=drifting(60, 1))
    with pytest.raises(UsageError, match=f"{here} and {there} traces .* 3 and more of each"):
        compare_traces([one] * here, [one] * there)
