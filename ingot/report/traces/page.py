"""A trace as one HTML page that needs nothing else: no network and no other file."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ingot.report.rendering import formats
from ingot.report.rendering.html import page_environment
from ingot.report.traces.comparison import ComparedStage
from ingot.report.traces.events import Event, Trace
from ingot.report.traces.kernels import KernelFigures, Peaks
from ingot.report.traces.summary import TraceSummary

_Key = TypeVar("_Key", bound=Hashable)


def render_page(
    trace: Trace,
    summary: TraceSummary,
    *,
    title: str,
    kernels: Sequence[KernelFigures] = (),
    peaks: Peaks | None = None,
    compared: Sequence[ComparedStage] = (),
    against: str | None = None,
) -> str:
    """Draws a page with a timeline, a flame graph and tables.

    Args:
        trace: What is drawn.
        summary: Its figures.
        title: The file's name.
        kernels: The kernels' figures.
        peaks: What these were held against, or why they were not.
        compared: Stages against those of another trace.
        against: The other trace's name.
    """
    return page_environment().get_template("trace/page.html.jinja").render(
        title=title,
        summary=summary,
        kernels=kernels,
        peaks=None if peaks is None else peaks.roofline,
        no_peaks=None if peaks is None else peaks.reason,
        compared=compared,
        against=against,
        format=formats,
        data=_script_json(_contents(trace, summary)),
    )  # fmt: skip


class _Numbered(Generic[_Key]):
    """Numbers what it is given, the same always by the same number."""

    def __init__(self, first: Iterable[_Key] = ()) -> None:
        self._numbers: dict[_Key, int] = {}
        for key in first:
            self(key)

    def __call__(self, key: _Key) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def all(self) -> list[_Key]:
        return list(self._numbers)


def _contents(trace: Trace, summary: TraceSummary) -> dict[str, Any]:
    """What the page's script draws; columns of numbers, since events are many.

    Starts are differences to the event before, and parents how many events before: both are short.
    """
    lanes = _Numbered(_lanes(trace))
    stages = _Numbered((row.source, row.name) for row in summary.stages)
    requests: _Numbered[str] = _Numbered()
    arguments: _Numbered[str] = _Numbered(["{}"])
    columns: dict[str, list[int]] = {
        name: []
        for name in "start duration own lane row stage parent request args".split()  # noqa: SIM905
    }
    before = 0
    for index, event in enumerate(trace.events):
        entry = {
            "start": event.start - before,
            "duration": event.duration,
            "own": event.self_time,
            "lane": lanes((event.thread, event.estimate)),
            "row": event.depth,
            "stage": stages(event.stage),
            "parent": index - event.parent if event.parent >= 0 else 0,
            "request": -1 if event.request is None else requests(event.request),
            "args": arguments(_arguments(event.args)),
        }
        for name, value in entry.items():
            columns[name].append(value)
        before = event.start
    marks = [
        [lanes((mark.thread, False)), stages((mark.source, mark.name)), mark.time,
         -1 if mark.request is None else requests(mark.request), arguments(_arguments(mark.args))]
        for mark in trace.marks
    ]  # fmt: skip
    flows: dict[str, list[list[int]]] = {}
    for flow in trace.flows:
        if (flow.thread, False) in lanes.all():
            flows.setdefault(flow.identity, []).append([lanes((flow.thread, False)), flow.time])
    depths = _depths(trace.events)
    return {
        "span": list(trace.span()),
        "lanes": [
            {
                "name": _lane_name(trace, thread, estimate, lanes.all()),
                "rows": depths.get((thread, estimate), 0),
                "estimate": estimate,
            }
            for thread, estimate in lanes.all()
        ],
        "stages": [list(stage) for stage in stages.all()],
        "requests": requests.all(),
        "arguments": [json.loads(text, parse_constant=str) for text in arguments.all()],
        "events": columns,
        "marks": marks,
        "counters": _counters(trace),
        "flows": flows,
    }


def _lanes(trace: Trace) -> list[tuple[Any, bool]]:
    """Threads in the order in which they begin, each before its estimates."""
    first: dict[Any, int] = {}
    begun = [(event.thread, event.start) for event in trace.events]
    for thread, time in begun + [(mark.thread, mark.time) for mark in trace.marks]:
        first[thread] = min(time, first.get(thread, time))
    measured = {event.thread for event in trace.events if not event.estimate}
    measured |= {mark.thread for mark in trace.marks}
    estimated = {event.thread for event in trace.events if event.estimate}
    ordered = sorted(first, key=lambda thread: (first[thread], tuple(map(str, thread))))
    return [
        (thread, estimate)
        for thread in ordered
        for estimate, there in ((False, measured), (True, estimated))
        if thread in there
    ]


def _lane_name(trace: Trace, thread: Any, estimate: bool, lanes: Iterable[Any]) -> str:
    name = trace.thread_name(thread)
    return f"{name}: estimates" if estimate and (thread, False) in lanes else name


def _depths(events: Iterable[Event]) -> dict[tuple[Any, bool], int]:
    depths: dict[tuple[Any, bool], int] = {}
    for event in events:
        lane = (event.thread, event.estimate)
        depths[lane] = max(depths.get(lane, 0), event.depth + 1)
    return depths


def _counters(trace: Trace) -> list[dict[str, Any]]:
    """Each series of each counter, with its times and values."""
    series: dict[tuple[str, str, str], tuple[list[int], list[float]]] = {}
    for sample in trace.samples:
        for name, value in sample.values.items():
            times, values = series.setdefault((sample.source, sample.name, name), ([], []))
            times.append(sample.time)
            values.append(value)
    return [
        {"name": counter if name in ("", "value") else f"{counter}: {name}", "times": times,
         "values": values}
        for (_, counter, name), (times, values) in series.items()
    ]  # fmt: skip


def _arguments(args: Mapping[str, Any]) -> str:
    shown = {str(key): value for key, value in args.items() if key != "request"}
    return json.dumps(shown, sort_keys=True, default=str)


def _script_json(value: Any) -> str:
    """JSON that can stand in a script element, whatever names are in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
