"""What a session of :mod:`ingot.runtime` records of itself: inferences, and their kernels."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ingot.runtime.manifest import KernelCost
from ingot.runtime.profiling import recording
from ingot.runtime.profiling.buffers import this_thread
from ingot.runtime.profiling.entries import ESTIMATE, EVENT, INFERENCE, KERNELS
from ingot.runtime.profiling.event_sources import NPU
from ingot.runtime.profiling.recording import ProfilingSession

_now = time.perf_counter_ns
_request = recording.request_here.get


@dataclasses.dataclass(frozen=True, eq=False)
class ModelFacts:
    """What is known of a loaded artifact.

    Attributes:
        artifact: Its name.
        threads: Threads per inference.
        kernels: What a call of each kernel computes and moves, by name, as far as it is known.
    """

    artifact: str
    threads: int
    kernels: Mapping[str, KernelCost]


def recording_inferences() -> ProfilingSession | None:
    """Returns the session that records the inferences of this context."""
    session = recording.only or recording.current()
    return session if session is not None and session.inferences else None


def record_inference(
    session: ProfilingSession, facts: ModelFacts, start: int, bound: int, entered: int, ran: int
) -> str | int:
    """Records an inference that ends now.

    Args:
        session: What records it.
        facts: What ran.
        start: When it was asked for, on the clock of :func:`time.perf_counter_ns`.
        bound: When its inputs were found to be right.
        entered: When its turn came.
        ran: When the outputs were computed.

    Returns:
        Its request; a number below zero if it belongs to none.
    """
    request = _request() or -next(session.numbers)
    session.count()
    session.append(
        (INFERENCE, this_thread.facts, facts.artifact, start, bound, entered, ran, _now(), request)
    )
    return request


def record_failure(
    session: ProfilingSession, facts: ModelFacts, start: int, error: BaseException
) -> None:
    """Records an inference that ends now by an error.

    Args:
        session: What records it.
        facts: What ran.
        start: When it was asked for, on the clock of :func:`time.perf_counter_ns`.
        error: What ended it.
    """
    stated = {"artifact": facts.artifact, "error": type(error).__name__}
    session.count()
    session.append((EVENT, this_thread.facts, "session", "run", start, _now(), _request(), stated))


def record_kernels(
    session: ProfilingSession,
    facts: ModelFacts,
    names: Sequence[str],
    rows: npt.NDArray[np.int64],
    request: str | int,
) -> None:
    """Records the kernels of an inference, where the session records any.

    Args:
        session: What records them.
        facts: What ran.
        names: Names of kernels by their numbers.
        rows: For each call the kernel's number, its start and its end, int64 [calls, 3], on the
            clock of :func:`time.perf_counter_ns`; not changed afterwards.
        request: What :func:`record_inference` returned.
    """
    if session.kernels:
        session.buffers.append_many(
            (KERNELS, this_thread.facts, facts, names, rows, request), len(rows)
        )


def record_estimate(
    region: str, clock_hz: float, cycles: int, layers: Sequence[tuple[str, str, int]]
) -> None:
    """Records what an NPU is estimated to take for a region that runs from now on.

    Args:
        region: Its name.
        clock_hz: Cycles per second; nothing is recorded where it is not known.
        cycles: Cycles of the region.
        layers: Name, operator and cycles of each operation, in order.
    """
    if clock_hz > 0 and (session := NPU.session_here()) is not None:
        session.count()
        session.append(
            (ESTIMATE, this_thread.facts, region, _now(), clock_hz, cycles, layers, _request())
        )
