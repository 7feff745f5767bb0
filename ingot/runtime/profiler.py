"""Timing the kernels of a loaded artifact, one by one, as they run within an inference."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ingot.runtime.session import Session

# The virtual machine's own functions: allocating, checking shapes, making views.
_BUILTIN = "vm.builtin."
_NOTHING_TO_SAY = 0


@dataclasses.dataclass(frozen=True)
class KernelTime:
    """The time of a kernel within an inference.

    Attributes:
        name: The kernel's name in the code; the manifest states its cost by it.
        calls: How often an inference calls it.
        seconds: Of all its calls in an inference, median over inferences. About a microsecond of
            each call is the measuring's own.
        share: Its part of the time of all kernels.
    """

    name: str
    calls: int
    seconds: float
    share: float


@dataclasses.dataclass(frozen=True)
class Profile:
    """Where the time of an inference goes.

    Attributes:
        kernels: The kernels, the longest first.
        seconds: Of a whole inference without measuring its kernels, median.
        inferences: How many were timed of either kind.
    """

    kernels: tuple[KernelTime, ...]
    seconds: float
    inferences: int


def profile(
    session: Session, inputs: Mapping[str, Any], *, inferences: int = 20, warm_up: int = 5
) -> Profile:
    """Times each kernel within inferences.

    Inferences with and without measuring take turns, since a machine's speed drifts.

    Args:
        session: A loaded artifact; no other thread may run it meanwhile.
        inputs: What it runs on.
        inferences: How many to time.
        warm_up: How many to run before, untimed.

    Raises:
        InputError: The inputs do not fit.
    """
    for _ in range(warm_up):
        session.run(inputs)
    whole: list[float] = []
    taken: list[dict[str, list[int]]] = []
    stopwatch = _Stopwatch()
    for _ in range(inferences):
        started = time.perf_counter_ns()
        session.run(inputs)
        whole.append((time.perf_counter_ns() - started) / 1e9)
        stopwatch.reset()
        with session.instrumented(stopwatch):
            session.run(inputs)
        taken.append(stopwatch.calls)
    return Profile(_kernel_times(taken), statistics.median(whole), inferences)


def _kernel_times(inferences: Sequence[Mapping[str, Sequence[int]]]) -> tuple[KernelTime, ...]:
    """Sums up the nanoseconds of each call, by the function's name, of each inference."""
    names = {name for calls in inferences for name in calls if not name.startswith(_BUILTIN)}
    seconds = {
        name: statistics.median(sum(calls.get(name, ())) / 1e9 for calls in inferences)
        for name in sorted(names)
    }
    total = sum(seconds.values())
    kernels = [
        KernelTime(
            name,
            calls=max(len(calls.get(name, ())) for calls in inferences),
            seconds=spent,
            share=spent / total if total else 0.0,
        )
        for name, spent in seconds.items()
    ]
    return tuple(sorted(kernels, key=lambda kernel: -kernel.seconds))


class _Stopwatch:
    """What the virtual machine calls before and after each call.

    Attributes:
        calls: Nanoseconds of each call by the function's name, what it calls in turn left out.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all calls."""
        self.calls: dict[str, list[int]] = {}
        # Of each call that is running: when it began, and how long what it has called took.
        self._running: list[list[int]] = []

    def __call__(self, function: Any, name: str, before: bool, result: Any, *arguments: Any) -> int:
        """Notes the time."""
        now = time.perf_counter_ns()
        del function, result, arguments
        if before:
            self._running.append([0, 0])
            self._running[-1][0] = time.perf_counter_ns()
            return _NOTHING_TO_SAY
        begun, within = self._running.pop()
        elapsed = now - begun
        self.calls.setdefault(name, []).append(elapsed - within)
        if self._running:
            self._running[-1][1] += elapsed
        return _NOTHING_TO_SAY
