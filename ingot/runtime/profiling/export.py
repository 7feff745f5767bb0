"""From entries, as they were recorded, to a trace."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ingot.runtime.profiling import entries as kinds
from ingot.runtime.profiling.buffers import ThreadEntries
from ingot.runtime.profiling.costs import recording_costs
from ingot.runtime.profiling.lanes import lay_out
from ingot.runtime.profiling.recording import ProfilingSession
from ingot.runtime.profiling.trace import Counter, Event, Mark, Step, Trace

_CPUINFO = Path("/proc/cpuinfo")


def export(session: ProfilingSession) -> Trace:
    """Makes a trace of what a session has recorded up to now."""
    collected = _Collected(session.start_ns)
    dropped = session.buffers.dropped
    for thread in session.buffers.entries():
        collected.take(thread)
    events, steps, threads = lay_out(collected.belonging(), collected.places, collected.threads)
    return Trace(
        name=session.name,
        started=session.started.isoformat(timespec="microseconds"),
        version=_version(),
        process=os.getpid(),
        program=Path(sys.argv[0] or sys.executable).name,
        machine=_machine(),
        threads=threads,
        events=events,
        marks=tuple(sorted(collected.marks, key=lambda mark: mark.at_ns)),
        counters=tuple(sorted(collected.counters, key=lambda counter: counter.at_ns)),
        steps=steps,
        dropped=dropped,
        costs=recording_costs(),
    )


class _Collected:
    """What the entries of all threads say, in no order.

    Args:
        origin: The time that all others are relative to.
    """

    def __init__(self, origin: int) -> None:
        self._origin = origin
        self.threads: dict[int, str] = {}
        self.events: list[Event] = []
        self.marks: list[Mark] = []
        self.counters: list[Counter] = []
        self.places: list[Step] = []
        # Of each thread, when inferences that are requests of their own began and ended.
        self._inferences: dict[int, list[tuple[int, int, str]]] = {}

    def take(self, thread: ThreadEntries) -> None:
        """Takes the entries of a thread."""
        self.threads[thread.thread] = thread.name
        meanings: dict[int, Callable[..., None]] = {
            kinds.EVENT: self._event,
            kinds.MARK: self._mark,
            kinds.COUNTER: self._counter,
            kinds.PLACE: self._place,
            kinds.STEP: self._step,
            kinds.INFERENCE: self._inference,
            kinds.KERNELS: self._kernels,
        }
        for kind, *entry in thread.entries:
            meanings[kind](thread.thread, *entry)

    def _add(
        self,
        thread: int,
        source: str,
        name: str,
        start: int,
        end: int,
        request: str | None,
        args: Mapping[str, Any] | None,
    ) -> None:
        # A clock never goes back, but who hands over times of its own may be wrong about them.
        duration = max(0, end - start)
        self.events.append(
            Event(source, name, start - self._origin, duration, thread, request, args or {})
        )

    def _event(self, thread: int, source: str, *rest: Any) -> None:
        self._add(thread, source, *rest)

    def _place(
        self,
        thread: int,
        name: str,
        start: int,
        end: int,
        request: str,
        args: Mapping[str, Any] | None,
    ) -> None:
        self._add(thread, "request", name, start, end, request, args)
        self.places.append(Step(request, start - self._origin, thread))

    def _step(self, thread: int, at: int, request: str) -> None:
        self.places.append(Step(request, at - self._origin, thread))

    def _mark(
        self,
        thread: int,
        source: str,
        name: str,
        at: int,
        request: str | None,
        args: Mapping[str, Any],
    ) -> None:
        self.marks.append(Mark(source, name, at - self._origin, thread, request, args))

    def _counter(
        self, thread: int, source: str, name: str, at: int, values: Mapping[str, float]
    ) -> None:
        self.counters.append(Counter(source, name, at - self._origin, thread, values))

    def _inference(
        self,
        thread: int,
        model: str,
        start: int,
        bound: int,
        entered: int,
        ran: int,
        end: int,
        request: str | int,
    ) -> None:
        if isinstance(request, int):
            request = f"run-{request}"
            own = (start - self._origin, end - self._origin, request)
            self._inferences.setdefault(thread, []).append(own)
        for name, begin, finish, args in (
            ("run", start, end, {"artifact": model}),
            ("bind", start, bound, None),
            ("queue", bound, entered, None),
            ("execute", entered, ran, None),
            ("copy", ran, end, None),
        ):
            self._add(thread, "session", name, begin, finish, request, args)

    def _kernels(
        self,
        thread: int,
        model: str,
        costs: Mapping[str, Mapping[str, Any]],
        names: Sequence[str],
        starts: Sequence[int],
        ends: Sequence[int],
        request: str | int,
    ) -> None:
        if isinstance(request, int):
            request = f"run-{request}"
        for name, start, end in zip(names, starts, ends, strict=True):
            args = {"artifact": model, **costs.get(name, {})}
            self._add(thread, "kernel", name, int(start), int(end), request, args)

    def belonging(self) -> list[Event]:
        """Returns the events, those within an inference as a part of its request."""
        for inferences in self._inferences.values():
            inferences.sort()
        return [self._belonging(event) for event in self.events]

    def _belonging(self, event: Event) -> Event:
        inferences = self._inferences.get(event.thread)
        if event.request is not None or inferences is None:
            return event
        before = bisect.bisect_right(inferences, event.start_ns, key=lambda one: one[0])
        if before and event.end_ns <= inferences[before - 1][1]:
            return dataclasses.replace(event, request=inferences[before - 1][2])
        return event


def _version() -> str:
    try:
        return importlib.metadata.version("ingot")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _machine() -> dict[str, str]:
    """Facts of this machine, by what the standard library tells."""
    model = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", _CPUINFO.read_text(), re.MULTILINE)
        model = found.group(1).strip() if found else ""
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
