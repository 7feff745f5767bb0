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

import numpy as np
import numpy.typing as npt

from ingot.runtime.manifest import NPU_PREFIX, REGION_PREFIX, KernelCost
from ingot.runtime.profiling import entries as kinds
from ingot.runtime.profiling.buffers import Entry
from ingot.runtime.profiling.costs import recording_costs
from ingot.runtime.profiling.inferences import ModelFacts
from ingot.runtime.profiling.lanes import ESTIMATES, lay_out
from ingot.runtime.profiling.recording import ProfilingSession
from ingot.runtime.profiling.trace import Counter, Event, Mark, Step, Trace

_CPUINFO = Path("/proc/cpuinfo")
# What is said of a kernel beside its times.
_STATED = ("operators", "operations", "bytes")
# What code calls a region by; regions are events of their own.
_REGIONS = (NPU_PREFIX, REGION_PREFIX)


def export(session: ProfilingSession) -> Trace:
    """Makes a trace of what a session has recorded up to now."""
    collected = _Collected(session.start_ns)
    entries, dropped = session.buffers.read()
    collected.take(entries)
    events, steps, threads = lay_out(collected.belonging(), collected.places, collected.threads)
    return Trace(
        name=session.name,
        started=session.started.isoformat(timespec="microseconds"),
        version=_version(),
        process=os.getpid(),
        program=Path(sys.argv[0] or sys.executable).name,
        machine=_machine(collected.kernel_threads),
        threads=threads,
        events=events,
        marks=tuple(sorted(collected.marks, key=lambda mark: mark.at_ns)),
        counters=tuple(sorted(collected.counters, key=lambda counter: counter.at_ns)),
        steps=steps,
        dropped=dropped,
        costs=recording_costs(),
    )


class _Collected:
    """What entries say, in no order.

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
        self.kernel_threads: set[int] = set()
        # Of each thread, when inferences that are requests of their own began and ended.
        self._inferences: dict[int, list[tuple[int, int, str]]] = {}

    def take(self, entries: Sequence[Entry]) -> None:
        """Takes entries in any order."""
        meanings: dict[int, Callable[..., None]] = {
            kinds.EVENT: self._event,
            kinds.MARK: self._mark,
            kinds.COUNTER: self._counter,
            kinds.PLACE: self._place,
            kinds.STEP: self._step,
            kinds.INFERENCE: self._inference,
            kinds.KERNELS: self._kernels,
            kinds.ESTIMATE: self._estimate,
        }
        # Inferences first, since others belong to them.
        for kind, (thread, name), *entry in sorted(
            entries, key=lambda entry: entry[0] != kinds.INFERENCE
        ):
            self.threads[thread] = name
            meanings[kind](thread, *entry)

    def _add(
        self,
        thread: int,
        source: str,
        name: str,
        start: int,
        end: int,
        request: str | int | None,
        args: Mapping[str, Any] | None,
    ) -> None:
        # A clock never goes back, but who hands over times of its own may be wrong about them.
        duration = max(0, end - start)
        self.events.append(
            Event(source, name, start - self._origin, duration, thread, _id(request), args or {})
        )

    def _event(self, thread: int, source: str, *rest: Any) -> None:
        self._add(thread, source, *rest)

    def _place(
        self,
        thread: int,
        name: str,
        start: int,
        end: int,
        request: str | int,
        args: Mapping[str, Any] | None,
    ) -> None:
        self._add(thread, "request", name, start, end, request, args)
        self.places.append(Step(str(request), start - self._origin, thread))

    def _step(self, thread: int, at: int, request: str) -> None:
        self.places.append(Step(str(request), at - self._origin, thread))

    def _mark(
        self,
        thread: int,
        source: str,
        name: str,
        at: int,
        request: str | int | None,
        args: Mapping[str, Any],
    ) -> None:
        self.marks.append(Mark(source, name, at - self._origin, thread, _id(request), args))

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
        if isinstance(request, int) and request < 0:
            own = (start - self._origin, end - self._origin, f"run-{-request}")
            self._inferences.setdefault(thread, []).append(own)
        self._add(thread, "session", "run", start, end, request, {"artifact": model})
        for name, begin, finish in (
            ("bind", start, bound),
            ("queue", bound, entered),
            ("execute", entered, ran),
            ("return", ran, end),
        ):
            # Where buffers are bound already, an inference has no such stages.
            if begin < finish:
                self._add(thread, "session", name, begin, finish, request, None)

    def _kernels(
        self,
        thread: int,
        facts: ModelFacts,
        names: Sequence[str],
        rows: npt.NDArray[np.int64],
        request: str | int,
    ) -> None:
        self.kernel_threads.add(facts.threads)
        for number, start, end in rows.tolist():
            name = names[number]
            if name.startswith(_REGIONS):
                continue
            args = {"artifact": facts.artifact, **_stated(facts.kernels.get(name))}
            self._add(thread, "kernel", name, start, end, request, args)

    def _estimate(
        self,
        thread: int,
        region: str,
        start: int,
        clock_hz: float,
        cycles: int,
        layers: Sequence[tuple[str, str, int]],
        request: str | int | None,
    ) -> None:
        """Lays estimates out from when the region began, on a thread that no processor has."""
        if request is None:
            request = self._inference_of(thread, start - self._origin)
        self.threads[ESTIMATES] = "NPU (estimates)"
        passed = 0
        for name, operator, each in layers:
            begin, passed = passed, passed + each
            args = {"estimate": True, "cycles": each, "operator": operator, "region": region}
            times = [start + round(at * 1e9 / clock_hz) for at in (begin, passed)]
            self._add(ESTIMATES, "npu", name, times[0], times[1], request, args)
        # Layers overlap on the NPU, or wait for each other: the region's own figure stays stated.
        end = start + round(max(cycles, passed) * 1e9 / clock_hz)
        whole = {"estimate": True, "cycles": cycles}
        self._add(ESTIMATES, "npu", region, start, end, request, whole)

    def belonging(self) -> list[Event]:
        """Returns the events, those within an inference as a part of its request."""
        return [
            event
            if event.request is not None
            else dataclasses.replace(
                event, request=self._inference_of(event.thread, event.start_ns, event.end_ns)
            )
            for event in self.events
        ]

    def _inference_of(self, thread: int, start: int, end: int | None = None) -> str | None:
        """The request of the inference that ran on a thread at a time, and until another."""
        inferences = self._inferences.get(thread)
        if inferences is None:
            return None
        before = bisect.bisect_right(inferences, start, key=lambda inference: inference[0])
        if before == 0 or inferences[before - 1][1] < (start if end is None else end):
            return None
        return inferences[before - 1][2]


def _stated(cost: KernelCost | None) -> dict[str, Any]:
    """What is known of a kernel, by name."""
    values = {} if cost is None else dataclasses.asdict(cost)
    return {key: value for key, value in values.items() if key in _STATED and value is not None}


def _id(request: str | int | None) -> str | None:
    """The id of a request as it was recorded."""
    if isinstance(request, int):
        return str(request) if request >= 0 else f"run-{-request}"
    return request


def _version() -> str:
    try:
        return importlib.metadata.version("ingot")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _machine(threads: set[int]) -> dict[str, str]:
    """Facts of this machine, by what the standard library tells.

    Args:
        threads: Threads per inference, of sessions whose kernels were recorded.
    """
    model = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", _CPUINFO.read_text(), re.MULTILINE)
        model = found.group(1).strip() if found else ""
    facts = {
        "cpu": model or platform.processor() or platform.machine(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    if threads:
        facts["threads"] = str(max(threads))
    return facts
