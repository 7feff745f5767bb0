"""Parts of a trace: by stage, request and time."""

from __future__ import annotations

import pytest

from ingot.errors import UsageError
from ingot.report.traces.events import Event, Flow, Mark, Sample, Trace
from ingot.report.traces.nesting import nested
from ingot.report.traces.selection import Selection, parse_time


def event(name: str, start: int, end: int, request: str | None = None) -> Event:
    return Event("s", name, start, end - start, (0, 1), request, {})


TRACE = Trace(
    events=nested(
        [
            event("run", 0, 100, "a"), event("bind", 0, 10), event("conv1", 10, 60),
            event("inner", 20, 30), event("run", 100, 200, "b"), event("conv2", 110, 150),
        ]
    ),
    marks=(Mark("s", "seen", 50, (0, 1), "a", {}),),
    samples=(Sample("metric", "queue", 5, {"length": 1.0}), Sample("metric", "queue", 50, {})),
    flows=(Flow("request", "a", 1, (0, 1)), Flow("request", "b", 100, (0, 1))),
)  # fmt: skip


def names(selection: Selection) -> list[str]:
    return [event.name for event in selection.apply(TRACE).events]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ["run", "bind", "conv1", "inner", "run", "conv2"]),
        (Selection(stages=("run",)), ["run", "run"]),
        (Selection(stages=("conv?", "bind")), ["bind", "conv1", "conv2"]),
        (Selection(requests=("b",)), ["run", "conv2"]),
        (Selection(start=10), ["conv1", "inner", "run", "conv2"]),
        (Selection(end=20), ["run", "bind", "conv1"]),
        (Selection(stages=("conv*",), requests=("a", "b"), start=50), ["conv2"]),
    ],
)
def test_what_is_kept(selection: Selection, expected: list[str]) -> None:
    assert names(selection) == expected


def test_parents_are_the_nearest_that_are_kept_and_self_times_stay() -> None:
    found = Selection(stages=("run", "inner")).apply(TRACE).events
    assert [event.parent for event in found] == [-1, 0, -1]
    assert [event.self_time for event in found] == [40, 10, 60]


def test_marks_are_kept_by_the_same() -> None:
    assert Selection(stages=("seen",)).apply(TRACE).marks == TRACE.marks
    assert Selection(requests=("b",)).apply(TRACE).marks == ()
    assert Selection(start=51).apply(TRACE).marks == ()


def test_values_are_of_no_request_and_of_no_stage() -> None:
    assert Selection(start=6).apply(TRACE).samples == TRACE.samples[1:]
    assert Selection(requests=("a",)).apply(TRACE).samples == ()
    assert Selection(stages=("run",)).apply(TRACE).samples == ()


def test_a_request_s_way_is_kept_with_it() -> None:
    assert Selection(requests=("b",)).apply(TRACE).flows == TRACE.flows[1:]
    assert Selection(end=100).apply(TRACE).flows == TRACE.flows[:1]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(stages=("konv*",)), "no stage konv.; it has bind, conv1, conv2, inner, run"),
        (Selection(requests=("z",)), "no request z; it has a, b"),
        (Selection(start=5, end=5), "--start to --end is empty"),
    ],
)
def test_what_selects_nothing_by_mistake_is_refused(selection: Selection, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        selection.apply(TRACE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12_000_000),
        ("250us", 250_000),
        ("1.5s", 1_500_000_000),
        (" 3 ns", 3),
        ("2min", 12 * 10**10),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert parse_time(text, "--start") == expected


@pytest.mark.parametrize("text", ["", "ms", "-3ms", "3h", "1e3", "1 2"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="--end: .* is no time"):
        parse_time(text, "--end")
