"""Which event lies within which: Chrome's format tells it by time alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from ingot.report.traces.events import Event

# Ends that are computed from a start and a duration in microseconds may differ in the last digit.
_ROUNDING = 1


def nested(events: Iterable[Event]) -> tuple[Event, ...]:
    """Sorts events by thread and start, and fills in depth, parent, self time and request.

    An event's parent is the innermost one on its thread that holds all of it. Events that overlap
    otherwise, as asynchronous ones do, are drawn below each other and are no parents. Estimates
    take no part: they have a lane of their own, and take no time from what was measured.
    """
    ordered = sorted(
        events,
        key=lambda event: (
            tuple(map(str, event.thread)), event.estimate, event.start, -event.duration,
        ),
    )  # fmt: skip
    first = 0
    for _, group in itertools.groupby(ordered, key=lambda event: (event.thread, event.estimate)):
        lane = list(group)
        _nest(lane, first)
        first += len(lane)
    for event in ordered:
        if event.request is None and event.parent >= 0:
            event.request = ordered[event.parent].request
    return tuple(ordered)


def _nest(lane: Sequence[Event], first: int) -> None:
    """Nests the events of one lane, the first of which has the index ``first``."""
    # Of each row of the lane, the event that is running there, or None.
    rows: list[int | None] = []
    for index, event in enumerate(lane):
        event.self_time, event.depth, event.parent = event.duration, 0, -1
        for row, other in enumerate(rows):
            if other is not None and not _running(lane[other], event):
                rows[row] = None
        while rows and rows[-1] is None:
            rows.pop()
        around = [
            (other, row)
            for row, other in enumerate(rows)
            if other is not None and lane[other].end + _ROUNDING >= event.end
        ]
        if around:
            parent, row = max(around)
            event.parent, event.depth = first + parent, row + 1
            lane[parent].self_time = max(0, lane[parent].self_time - event.duration)
        while event.depth < len(rows) and rows[event.depth] is not None:
            event.depth += 1
        if event.depth == len(rows):
            rows.append(index)
        else:
            rows[event.depth] = index


def _running(other: Event, event: Event) -> bool:
    """Whether an event that began no later still runs when ``event`` begins."""
    if other.end > event.start:
        return True
    # Of two that begin and end in the same moment the second lies within the first.
    return other.duration == 0 and other.start == event.start and event.duration == 0
