"""What recording itself takes, measured on the machine that records."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from ingot.runtime.profiling import inferences
from ingot.runtime.profiling.event_sources import RunningEvent
from ingot.runtime.profiling.recording import ProfilingSession
from ingot.runtime.profiling.requests import Request

_REPEATS, _TIMES = 5, 200


@functools.cache
def recording_costs() -> dict[str, float]:
    """Nanoseconds that recording takes, by what is recorded; measured once in the process."""
    scratch = ProfilingSession(
        "scratch", scoped=False, kernels=False, only=None, limit=_REPEATS * _TIMES
    )

    facts = inferences.ModelFacts("scratch", 1, {})

    def event() -> None:
        with RunningEvent(scratch, "user", "event", {}):
            pass

    def inference() -> None:
        at = time.perf_counter_ns
        inferences.record_inference(scratch, facts, at(), at(), at(), at())

    def request() -> None:
        with Request(scratch, "r", "request", {}):
            pass

    return {action.__name__: _nanoseconds(action) for action in (event, inference, request)}


def _nanoseconds(action: Callable[[], None]) -> float:
    """How long an action takes: the quickest of some repetitions, the rest being the machine's."""
    taken = []
    for _ in range(_REPEATS):
        started = time.perf_counter_ns()
        for _ in range(_TIMES):
            action()
        taken.append((time.perf_counter_ns() - started) / _TIMES)
    return min(taken)
