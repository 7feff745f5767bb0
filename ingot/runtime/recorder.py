"""Keeping the times of inferences: cheap for the callers, bounded in memory.

Recording takes about half a microsecond and keeps no more memory than at first: a ring holds the
last inferences, and a histogram and sums all of them. What follows from them is computed only when
somebody asks (``ingot.runtime.statistics``, which is imported only then).
"""

from __future__ import annotations

import array
import bisect
import collections
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

KEPT = 4096
# Upper bounds of the histogram: 1, 2.5, 5 in each decade from 10 microseconds to 10 seconds.
BOUNDS_NS = (*(k * 10**power for power in range(4, 10) for k in (1, 2.5, 5)), 10**10)

_LOOK_EVERY_NS = 1_000_000_000
_LOOKS = 64


class Recording(NamedTuple):
    """What has been recorded up to a moment; times in nanoseconds of ``time.perf_counter_ns``.

    Attributes:
        now_ns: The moment.
        begun_ns: When recording began.
        cpu_ns: CPU time of the process.
        looks: Earlier moments, about a second apart, and the CPU time then; ascending.
        inferences: Finished.
        errors: Failed.
        ends_ns: When each of the last inferences ended, in no order.
        taken_ns: What each of these took.
        counts: Inferences by ``BOUNDS_NS``, and of those beyond the last bound.
        total_ns: Of all inferences together.
    """

    now_ns: int
    begun_ns: int
    cpu_ns: int
    looks: list[tuple[int, int]]
    inferences: int
    errors: int
    ends_ns: array.array[int]
    taken_ns: array.array[int]
    counts: tuple[int, ...]
    total_ns: int


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


class Recorder:
    """Takes the times of inferences, from any number of threads at once.

    A forked child begins at zero: what its parent did is the parent's.
    """

    def __init__(self) -> None:
        self._begin()
        _recorders.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._ends, self._taken = (array.array("q", bytes(8 * KEPT)) for _ in range(2))
        self._inferences = 0
        self._errors = 0
        self._total_ns = 0
        self._counts = [0] * (len(BOUNDS_NS) + 1)
        self._begun_ns = time.perf_counter_ns()
        self._looks: collections.deque[tuple[int, int]] = collections.deque(maxlen=_LOOKS)
        self._look(self._begun_ns)

    def record(self, start_ns: int, end_ns: int) -> None:
        """Notes an inference that went well.

        Args:
            start_ns: When it began, by ``time.perf_counter_ns``.
            end_ns: When its outputs were there.
        """
        taken = end_ns - start_ns
        bucket = bisect.bisect_left(BOUNDS_NS, taken)
        with self._lock:
            at = self._inferences % KEPT
            self._ends[at] = end_ns
            self._taken[at] = taken
            self._inferences += 1
            self._total_ns += taken
            self._counts[bucket] += 1
            if end_ns >= self._next_look_ns:
                self._look(end_ns)

    def record_error(self) -> None:
        """Notes an inference that raised an error."""
        with self._lock:
            self._errors += 1

    def read(self) -> Recording:
        """What has been recorded up to now."""
        with self._lock:
            now = time.perf_counter_ns()
            if now >= self._next_look_ns:
                self._look(now)
            return Recording(
                now_ns=now,
                begun_ns=self._begun_ns,
                cpu_ns=time.process_time_ns(),
                looks=list(self._looks),
                inferences=self._inferences,
                errors=self._errors,
                ends_ns=self._ends[: self._inferences],
                taken_ns=self._taken[: self._inferences],
                counts=tuple(self._counts),
                total_ns=self._total_ns,
            )

    def _look(self, now: int) -> None:
        self._looks.append((now, time.process_time_ns()))
        self._next_look_ns = now + _LOOK_EVERY_NS


class _HasRecorder(Protocol):
    """What has a recorder."""

    _recorder: Recorder


_R = TypeVar("_R", bound=_HasRecorder)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def recorded(run: Callable[Concatenate[_R, _P], _T]) -> Callable[Concatenate[_R, _P], _T]:
    """Records each call of a method as an inference, or as one that failed."""

    @functools.wraps(run)
    def timed(self: _R, /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        started = time.perf_counter_ns()
        try:
            result = run(self, *arguments, **named)
        except Exception:
            self._recorder.record_error()
            raise
        self._recorder.record(started, time.perf_counter_ns())
        return result

    return timed


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder._begin()


os.register_at_fork(after_in_child=_after_fork)
