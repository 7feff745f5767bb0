"""What a session of :mod:`ingot.runtime` records of itself: inferences, and their kernels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ingot.runtime.profiling import recording
from ingot.runtime.profiling.entries import INFERENCE, KERNELS
from ingot.runtime.profiling.event_sources import KERNEL, SESSION
from ingot.runtime.profiling.recording import ProfilingSession

_now = time.perf_counter_ns
_request = recording.request_here.get


def recording_inferences() -> ProfilingSession | None:
    """Returns the session that records the inferences of this context."""
    session = recording.current()
    if session is None or not session.inferences or not SESSION.enabled:
        return None
    return session


def record_inference(
    session: ProfilingSession, model: str, start: int, bound: int, entered: int, ran: int
) -> str | int:
    """Records an inference that ends now.

    Args:
        session: What records it.
        model: The artifact's name.
        start: When it was asked for, on the clock of :func:`time.perf_counter_ns`.
        bound: When its inputs were found to be right.
        entered: When its turn came.
        ran: When the outputs were computed.

    Returns:
        Its request, or a number if it belongs to none.
    """
    request = _request() or next(session.numbers)
    session.append((INFERENCE, model, start, bound, entered, ran, _now(), request))
    return request


def record_kernels(
    session: ProfilingSession,
    model: str,
    costs: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    starts: Sequence[int],
    ends: Sequence[int],
    request: str | int,
) -> None:
    """Records the kernels of an inference, where the session records any.

    Args:
        session: What records them.
        model: The artifact's name.
        costs: What to say of each kernel by name: ``operators``, ``operations``, ``bytes``.
        names: Of the kernels, in the order in which they were called.
        starts: When each began, on the clock of :func:`time.perf_counter_ns`.
        ends: When each ended.
        request: What :func:`record_inference` returned.
    """
    if session.kernels and KERNEL.enabled:
        entry = (KERNELS, model, costs, names, starts, ends, request)
        session.buffers.append_many(entry, len(names))
