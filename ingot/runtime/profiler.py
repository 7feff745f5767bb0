"""Timing the kernels of a loaded artifact, one by one, as they run within an inference."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ingot.runtime.kernel_events import KernelEvents
from ingot.runtime.session import Session


@dataclasses.dataclass(frozen=True)
class KernelTime:
    """The time of a kernel within an inference.

    Attributes:
        name: The kernel's name in the code; the manifest states its cost by it.
        calls: How often an inference calls it.
        seconds: Of all its calls in an inference, median over inferences. Some 50 nanoseconds of
            each call are the measuring's own.
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
    for _ in range(inferences):
        started = time.perf_counter_ns()
        session.run(inputs)
        whole.append((time.perf_counter_ns() - started) / 1e9)
        taken.append(_by_kernel(session.run_timed(inputs)[1]))
    return Profile(_kernel_times(taken), statistics.median(whole), inferences)


def _kernel_times(inferences: Sequence[Mapping[str, Sequence[int]]]) -> tuple[KernelTime, ...]:
    """Sums up the nanoseconds of each call, by the function's name, of each inference."""
    names = {name for calls in inferences for name in calls}
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


def _by_kernel(events: KernelEvents) -> dict[str, list[int]]:
    """Returns the nanoseconds of each call, by the kernel's name."""
    calls: dict[str, list[int]] = {}
    for name, start, end in events:
        calls.setdefault(name, []).append(end - start)
    return calls
