"""A part of a trace: of some stages, some requests, some time."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Sequence

from ingot.errors import UsageError
from ingot.report.traces.events import Event, Mark, Trace

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9}
_TIME = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zµ]*)\s*")
_MOST_NAMED = 12


@dataclasses.dataclass(frozen=True)
class Selection:
    """What of a trace is looked at; nothing given selects all.

    Attributes:
        stages: Names of stages; ``*`` and ``?`` stand for any characters and one.
        requests: Ids of requests.
        start: Nanoseconds since the trace's origin: what begins before is left out.
        end: Likewise: what begins then or later is left out.
    """

    stages: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None

    def apply(self, trace: Trace) -> Trace:
        """Returns the part of a trace; self times stay those in the whole.

        Raises:
            UsageError: A stage or a request is not in the trace, or the time is empty.
        """
        if self == Selection():
            return trace
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise UsageError("the time from --start to --end is empty: give a later --end")
        self._require_names(trace)
        stages = self._stages(trace)
        kept = [self._keeps(event, event.start, stages) for event in trace.events]
        return dataclasses.replace(
            trace,
            events=_without(trace.events, kept),
            marks=tuple(mark for mark in trace.marks if self._keeps(mark, mark.time, stages)),
            # A counter is of no stage and of no request.
            samples=()
            if self.stages or self.requests
            else tuple(one for one in trace.samples if self._within(one.time)),
            flows=tuple(
                flow
                for flow in trace.flows
                if self._within(flow.time) and (not self.requests or flow.identity in self.requests)
            ),
        )

    def _keeps(self, entry: Event | Mark, time: int, stages: frozenset[str] | None) -> bool:
        return (
            (stages is None or entry.name in stages)
            and (not self.requests or entry.request in self.requests)
            and self._within(time)
        )

    def _within(self, time: int) -> bool:
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)

    def _stages(self, trace: Trace) -> frozenset[str] | None:
        """Names of the stages that are meant; None for all."""
        if not self.stages:
            return None
        entries: list[Event | Mark] = [*trace.events, *trace.marks]
        names = {entry.name for entry in entries}
        return frozenset(
            name
            for name in names
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.stages)
        )

    def _require_names(self, trace: Trace) -> None:
        entries: list[Event | Mark] = [*trace.events, *trace.marks]
        names = sorted({entry.name for entry in entries})
        for pattern in self.stages:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
                raise UsageError(f"the trace has no stage {pattern}; it has {_listed(names)}")
        requests = sorted({entry.request for entry in entries if entry.request is not None})
        for request in self.requests:
            if request not in requests:
                raise UsageError(f"the trace has no request {request}; it has {_listed(requests)}")


def parse_time(text: str, option: str) -> int:
    """Nanoseconds of a time such as ``250us``, ``1.5s`` or ``12`` (milliseconds).

    Raises:
        UsageError: It is none.
    """
    match = _TIME.fullmatch(text)
    unit = None if match is None else _UNITS.get(match[2] or "ms")
    if match is None or unit is None:
        raise UsageError(f"{option}: {text!r} is no time; give one such as 250us, 12ms or 1.5s")
    return round(float(match[1]) * unit)


def _without(events: Sequence[Event], kept: Sequence[bool]) -> tuple[Event, ...]:
    """The events that are kept; the parent of each is the nearest one around it that is."""
    places: dict[int, int] = {}
    left: list[Event] = []
    for index, event in enumerate(events):
        if not kept[index]:
            continue
        parent = event.parent
        while parent >= 0 and not kept[parent]:
            parent = events[parent].parent
        places[index] = len(left)
        left.append(dataclasses.replace(event, parent=places[parent] if parent >= 0 else -1))
    return tuple(left)


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
