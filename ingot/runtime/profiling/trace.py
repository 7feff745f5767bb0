"""What was recorded, as typed objects: events, marks, counters, and the steps of requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that took time. What lies within it on the same thread is a part of it.

    Attributes:
        source: What recorded it: ``session``, ``kernel``, ``region``, ``npu``, ``request``, or a
            name that a program has registered.
        name: What it is.
        start_ns: Nanoseconds from the session's start; negative if it began before.
        duration_ns: How long it took.
        thread: Id of the thread; :attr:`Trace.threads` has its name.
        request: The request that it belongs to.
        args: What else was stated: strings, numbers, booleans and None.
    """

    source: str
    name: str
    start_ns: int
    duration_ns: int
    thread: int
    request: str | None = None
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def end_ns(self) -> int:
        """Nanoseconds from the session's start to its end."""
        return self.start_ns + self.duration_ns


@dataclasses.dataclass(frozen=True)
class Mark:
    """A moment. The attributes are those of :class:`Event`."""

    source: str
    name: str
    at_ns: int
    thread: int
    request: str | None = None
    args: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Counter:
    """Values from a moment on, until the next counter of this name.

    Attributes:
        source: What recorded it; ``metric`` for a program's own figures.
        name: What is counted.
        at_ns: Nanoseconds from the session's start.
        thread: Id of the thread.
        values: The values by series.
    """

    source: str
    name: str
    at_ns: int
    thread: int
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Step:
    """A place that a request came through: the innermost event of the thread at this moment.

    Attributes:
        request: The request.
        at_ns: Nanoseconds from the session's start.
        thread: Id of the thread.
    """

    request: str
    at_ns: int
    thread: int


@dataclasses.dataclass(frozen=True)
class Trace:
    """What a profiling session recorded, in the order of time.

    Attributes:
        name: The session's name.
        started: When it began, ISO 8601, UTC.
        version: The Ingot that recorded it.
        process: Id of the process.
        program: The process's name.
        machine: Facts of the machine.
        threads: Names of threads by id. Tasks that overlap on one thread are shown as several.
        events: What took time.
        marks: Moments.
        counters: Values.
        steps: Of requests that came through several threads.
        dropped: Entries that are missing because there was no room for more.
        costs: Nanoseconds that recording took, by what is recorded, measured on this machine.
    """

    name: str
    started: str
    version: str
    process: int
    program: str
    machine: Mapping[str, str]
    threads: Mapping[int, str]
    events: tuple[Event, ...] = ()
    marks: tuple[Mark, ...] = ()
    counters: tuple[Counter, ...] = ()
    steps: tuple[Step, ...] = ()
    dropped: int = 0
    costs: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def requests(self) -> tuple[str, ...]:
        """The requests, each once, in the order in which they were first seen."""
        return tuple(dict.fromkeys(e.request for e in self.events if e.request is not None))

    def of_request(self, request: str) -> tuple[Event, ...]:
        """Returns the events of a request, on whatever thread."""
        return tuple(event for event in self.events if event.request == request)

    def save(self, path: str | Path) -> Path:
        """Writes Chrome trace JSON, which Perfetto and ``chrome://tracing`` open.

        Args:
            path: The file; compressed where it ends in ``.gz``.

        Returns:
            The path.

        Raises:
            TraceError: The file cannot be written, or would be larger than any that is read.
            UsageError: The place is not one for a file.
        """
        # Here, since that module reads files into this one's classes.
        from ingot.runtime.profiling.trace_file import write_trace

        return write_trace(self, Path(path))
