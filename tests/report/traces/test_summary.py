"""Figures of stages, and what is estimated apart from what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.report.traces.events import Event, Trace
from ingot.report.traces.nesting import nested
from ingot.report.traces.reading import read_trace
from ingot.report.traces.summary import summarize
from tests.report.traces.sample import session_trace


def events(count: int) -> Trace:
    return Trace(
        nested(
            [Event("s", "run", 1000 * i, 100 + i, (0, 1), None, {}) for i in range(count)]
            + [Event("s", "part", 1000 * i, 50, (0, 1), f"r{i}", {}) for i in range(count)]
        )
    )


def test_a_stage_s_figures() -> None:
    rows = {row.name: row for row in summarize(events(5)).stages}
    run = rows["run"]
    assert (run.source, run.count, run.p50_us, run.total_us) == ("s", 5, 0.102, 0.51)
    assert run.mean_us == pytest.approx(0.102)
    assert (run.self_us, rows["part"].self_us) == (0.26, 0.25)
    assert sum(row.share for row in rows.values()) == pytest.approx(1)
    assert [row.name for row in summarize(events(5)).stages] == ["run", "part"]


@pytest.mark.parametrize(("count", "shown"), [(99, False), (100, True)])
def test_p99_takes_a_hundred_events(count: int, shown: bool) -> None:
    assert all((row.p99_us is not None) == shown for row in summarize(events(count)).stages)


def test_a_session_s_contents(tmp_path: Path) -> None:
    summary = summarize(read_trace(session_trace(3).save(tmp_path / "t.json")))
    assert (summary.session, summary.requests, summary.threads) == ("two threads", 3, 2)
    assert (summary.events, summary.marks, summary.samples) == (1 + 3 * 7, 3, 3)
    assert summary.machine["threads"] == "1"


def test_estimates_are_in_no_column_with_what_was_measured(tmp_path: Path) -> None:
    with_, without = (
        summarize(read_trace(session_trace(3, estimates=own).save(tmp_path / "t.json")))
        for own in (True, False)
    )
    assert with_.stages == without.stages
    (row,) = with_.estimates
    assert (row.name, row.count, row.estimated_us, row.cycles) == ("region_0", 3, 500, 12_000)


def test_nothing_is_a_summary_too() -> None:
    summary = summarize(Trace(()))
    assert (summary.events, summary.duration_us, summary.stages) == (0, 0, ())
