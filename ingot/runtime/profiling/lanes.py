"""Events that overlap on one thread without one lying within the other, side by side.

A trace shows an event within another as a part of it. Tasks of an event loop take turns on one
thread, so that their events overlap as they please: each task's are put where they lie within
nothing of another's, on a lane that the trace shows as a thread of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from ingot.runtime.profiling.trace import Event, Step

# Linux has no threads with such ids (PID_MAX_LIMIT).
ESTIMATES = 1 << 22
"""The thread of what is estimated, not measured."""
_FIRST_LANE = ESTIMATES + 1

_Placed = TypeVar("_Placed", Event, Step)


def lay_out(
    events: Iterable[Event], steps: Iterable[Step], threads: Mapping[int, str]
) -> tuple[tuple[Event, ...], tuple[Step, ...], dict[int, str]]:
    """Gives each event a lane.

    Args:
        events: Events of all threads, in any order.
        steps: Places that requests come through; one that has a single place gets none.
        threads: Names of threads by id.

    Returns:
        The events by time, the steps by request and time, and the threads with the lanes.
    """
    by_thread: dict[int, list[Event | Step]] = {}
    for event in events:
        by_thread.setdefault(event.thread, []).append(event)
    for step in steps:
        by_thread.setdefault(step.thread, []).append(step)
    named = dict(threads)
    placed: list[Event] = []
    places: dict[str, list[Step]] = {}
    for thread, found in sorted(by_thread.items()):
        found.sort(key=_order)
        lanes = [_Lane(thread)]
        for entry in found:
            if isinstance(entry, Step):
                lane = _passing(lanes, entry)
                places.setdefault(entry.request, []).append(_moved(entry, lane.thread))
                continue
            chosen = _fitting(lanes, entry)
            if chosen is None:
                chosen = _Lane(_FIRST_LANE + len(named) - len(threads))
                lanes.append(chosen)
                named[chosen.thread] = f"{threads[thread]} ({len(lanes)})"
            chosen.open.append(entry)
            placed.append(_moved(entry, chosen.thread))
    placed.sort(key=lambda event: (event.start_ns, -event.duration_ns))
    joined = [sorted(steps, key=lambda step: step.at_ns) for steps in places.values()]
    joined = sorted((steps for steps in joined if len(steps) > 1), key=lambda s: s[0].at_ns)
    return tuple(placed), tuple(step for steps in joined for step in steps), named


def _order(entry: Event | Step) -> tuple[int, int, int]:
    """By time; what contains another comes before it, and a step after what begins with it."""
    if isinstance(entry, Step):
        return entry.at_ns, 1, 0
    return entry.start_ns, 0, -entry.duration_ns


@dataclasses.dataclass
class _Lane:
    """Events of which each lies within the one before.

    Attributes:
        thread: Its id.
        open: The events that are running, the innermost last.
    """

    thread: int
    open: list[Event] = dataclasses.field(default_factory=list)

    def innermost(self, at: int) -> Event | None:
        """The event that runs at a time, which is no earlier than any that was asked for before."""
        while self.open and self.open[-1].end_ns <= at:
            self.open.pop()
        return self.open[-1] if self.open else None


def _fitting(lanes: Sequence[_Lane], event: Event) -> _Lane | None:
    """The lane where an event lies within one of its own request, else within none of another."""
    second = None
    for lane in lanes:
        around = lane.innermost(event.start_ns)
        if around is not None and around.end_ns < event.end_ns:
            continue
        if around is not None and around.request is not None:
            if around.request == event.request:
                return lane
            if event.request is not None:
                continue
        if second is None:
            second = lane
    return second


def _passing(lanes: Sequence[_Lane], step: Step) -> _Lane:
    """The lane where something of the request runs at a step, else anything, else the first."""
    running = [(lane, lane.innermost(step.at_ns)) for lane in lanes]
    for lane, event in running:
        if event is not None and event.request == step.request:
            return lane
    return next((lane for lane, event in running if event is not None), lanes[0])


def _moved(entry: _Placed, thread: int) -> _Placed:
    return entry if entry.thread == thread else dataclasses.replace(entry, thread=thread)
