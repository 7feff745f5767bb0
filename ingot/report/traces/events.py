"""What a trace holds: events with a duration, marks, counters, and flows between threads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeAlias

Thread: TypeAlias = tuple[int | str, int | str]
"""A process's id and a thread's. Asynchronous events have a lane of their own, by their source."""


@dataclasses.dataclass(slots=True)
class Event:
    """Something that took time.

    Attributes:
        source: Where it comes from, such as ``session`` or ``kernel``.
        name: The stage's name.
        start: Nanoseconds since the trace's origin.
        duration: Nanoseconds.
        thread: Where it ran.
        request: The request that it served; events inherit it from the one around them.
        args: What else it says.
        depth: How many rows below its thread's top it is drawn.
        parent: Index of the event around it, -1 at the top.
        self_time: Nanoseconds in it that no event within it accounts for.
    """

    source: str
    name: str
    start: int
    duration: int
    thread: Thread
    request: str | None
    args: Mapping[str, Any]
    depth: int = 0
    parent: int = -1
    self_time: int = 0

    @property
    def end(self) -> int:
        """Nanoseconds since the trace's origin at which it ended."""
        return self.start + self.duration

    @property
    def estimate(self) -> bool:
        """Whether its duration is an estimate and not a measured time."""
        return self.args.get("estimate") is True

    @property
    def stage(self) -> tuple[str, str]:
        """What it is counted with: its source and name."""
        return self.source, self.name


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A moment, in nanoseconds since the trace's origin."""

    source: str
    name: str
    time: int
    thread: Thread
    request: str | None
    args: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """Values of a counter or a metric, by series, from a moment on."""

    source: str
    name: str
    time: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Flow:
    """A point of an arrow between threads; points of the same source and id are joined in order."""

    source: str
    identity: str
    time: int
    thread: Thread


@dataclasses.dataclass(frozen=True)
class About:
    """What a trace says of itself; nothing of it in traces of other programs.

    Attributes:
        session: The session's name.
        started: When it began, ISO 8601, UTC.
        version: The Ingot that recorded it.
        machine: Facts of the machine.
        dropped: Entries that the session had no room for.
    """

    session: str | None = None
    started: str | None = None
    version: str | None = None
    machine: Mapping[str, str] = dataclasses.field(default_factory=dict)
    dropped: int = 0


@dataclasses.dataclass(frozen=True)
class Trace:
    """A trace as it was read.

    Attributes:
        events: By thread, then start; an event stands before those within it.
        marks: By time.
        samples: By time.
        flows: By time.
        threads: Names of threads.
        processes: Names of processes, by id.
        about: What it says of itself.
        notes: What could not be read as it stands, each in a sentence.
    """

    events: tuple[Event, ...]
    marks: tuple[Mark, ...] = ()
    samples: tuple[Sample, ...] = ()
    flows: tuple[Flow, ...] = ()
    threads: Mapping[Thread, str] = dataclasses.field(default_factory=dict)
    processes: Mapping[int | str, str] = dataclasses.field(default_factory=dict)
    about: About = dataclasses.field(default_factory=About)
    notes: tuple[str, ...] = ()

    @functools.cached_property
    def _several_processes(self) -> bool:
        return len({event.thread[0] for event in self.events}) > 1

    def span(self) -> tuple[int, int]:
        """Nanoseconds of the first moment and of the last; (0, 0) where there is none."""
        moments = [
            *(mark.time for mark in self.marks),
            *(sample.time for sample in self.samples),
            *(event.start for event in self.events),
            *(event.end for event in self.events),
        ]
        return (min(moments), max(moments)) if moments else (0, 0)

    def thread_name(self, thread: Thread) -> str:
        """What a thread is called."""
        process, number = thread
        name = self.threads.get(thread) or (
            number if isinstance(number, str) else f"thread {number}"
        )
        if not self._several_processes:
            return name
        return f"{self.processes.get(process, f'process {process}')}: {name}"
