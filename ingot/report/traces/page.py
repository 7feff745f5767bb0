"""A trace as one HTML page that needs nothing else: no network and no other file."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from ingot.report.rendering import formats
from ingot.report.rendering.html import page_environment
from ingot.report.traces.comparison import ComparedStage
from ingot.report.traces.events import Event, Mark, Trace
from ingot.report.traces.kernels import KernelFigures, Peaks
from ingot.report.traces.summary import TraceSummary

_COLUMNS = ("start", "duration", "own", "lane", "row", "stage", "parent", "request", "args")
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
    several: bool = False,
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
        several: Whether several traces of each side were compared.
    """
    return page_environment().get_template("trace/page.html.jinja").render(
        title=title,
        summary=summary,
        kernels=kernels,
        peaks=None if peaks is None else peaks.roofline,
        no_peaks=None if peaks is None else peaks.reason,
        compared=compared,
        against=against,
        several=several,
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


class _Numbers:
    """What the page's script knows by number.

    Attributes:
        lanes: Threads, and whether it is the lane of their estimates.
        stages: Sources and names, the stage with the most self time first.
        requests: Ids.
        arguments: What entries say beside, as JSON.
    """

    def __init__(self, trace: Trace, summary: TraceSummary) -> None:
        self.lanes = _Numbered(_lanes(trace))
        self.stages = _Numbered((row.source, row.name) for row in summary.stages)
        self.requests: _Numbered[str] = _Numbered()
        self.arguments: _Numbered[str] = _Numbered(["{}"])

    def request(self, entry: Event | Mark) -> int:
        return -1 if entry.request is None else self.requests(entry.request)

    def args(self, entry: Event | Mark) -> int:
        shown = {str(key): value for key, value in entry.args.items() if key != "request"}
        return self.arguments(json.dumps(shown, sort_keys=True, default=str))


def _contents(trace: Trace, summary: TraceSummary) -> dict[str, Any]:
    """What the page's script draws."""
    numbers = _Numbers(trace, summary)
    events = _event_columns(trace.events, numbers)
    marks = [
        [numbers.lanes((mark.thread, False)), numbers.stages((mark.source, mark.name)), mark.time,
         numbers.request(mark), numbers.args(mark)]
        for mark in trace.marks
    ]  # fmt: skip
    lanes, depths = numbers.lanes.all(), _depths(trace.events)
    flows: dict[str, list[list[int]]] = {}
    for flow in trace.flows:
        if (flow.thread, False) in lanes:
            place = [numbers.lanes((flow.thread, False)), flow.time]
            flows.setdefault(flow.identity, []).append(place)
    return {
        "span": list(trace.span()),
        "lanes": [
            {
                "name": _lane_name(trace, thread, estimate, lanes),
                "rows": depths.get((thread, estimate), 0),
                "estimate": estimate,
            }
            for thread, estimate in lanes
        ],
        "stages": [list(stage) for stage in numbers.stages.all()],
        "requests": numbers.requests.all(),
        # JSON knows neither infinities nor NaN.
        "arguments": [json.loads(text, parse_constant=str) for text in numbers.arguments.all()],
        "events": events,
        "marks": marks,
        "counters": _counters(trace),
        "flows": flows,
    }


def _event_columns(events: Sequence[Event], numbers: _Numbers) -> dict[str, list[int]]:
    """Events as columns of numbers, since they are many.

    Starts are differences to the event before, and parents how many events before: both are short.
    """
    columns: dict[str, list[int]] = {name: [] for name in _COLUMNS}
    before = 0
    for index, event in enumerate(events):
        entry = {
            "start": event.start - before,
            "duration": event.duration,
            "own": event.self_time,
            "lane": numbers.lanes((event.thread, event.estimate)),
            "row": event.depth,
            "stage": numbers.stages(event.stage),
            "parent": index - event.parent if event.parent >= 0 else 0,
            "request": numbers.request(event),
            "args": numbers.args(event),
        }
        for name, value in entry.items():
            columns[name].append(value)
        before = event.start
    return columns


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
            if not math.isfinite(value):  # nothing that could be drawn
                continue
            times, values = series.setdefault((sample.source, sample.name, name), ([], []))
            times.append(sample.time)
            values.append(value)
    return [
        {"name": counter if name in ("", "value") else f"{counter}: {name}", "times": times,
         "values": values}
        for (_, counter, name), (times, values) in series.items()
    ]  # fmt: skip


def _script_json(value: Any) -> str:
    """JSON that can stand in a script element, whatever names are in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
