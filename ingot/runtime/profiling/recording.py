"""Profiling sessions, and which of them records what runs here.

``on`` is what code asks before anything else: while no session is active, that look at an attribute
is all that profiling costs.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from ingot.errors import UsageError
from ingot.runtime.profiling.buffers import Buffers, this_thread

if TYPE_CHECKING:
    from ingot.runtime.profiling.trace import Trace

on = False
"""Whether any session is active."""

_lock = threading.Lock()
_active: set[ProfilingSession] = set()
_everywhere: ProfilingSession | None = None
only: ProfilingSession | None = None
"""The session that records everywhere, while no scoped one does: what asks looks here first."""
_off: set[str] = set()
here: ContextVar[ProfilingSession | None] = ContextVar("ingot-profiling", default=None)
"""The scoped session of this context; it may have ended."""
request_here: ContextVar[str | int | None] = ContextVar("ingot-request", default=None)
"""The id of the request that this context works on; a number is as good as its text."""


class ProfilingSession:
    """Records events from its start until it is stopped.

    Made by :func:`ingot.profiling.start`. As a context manager it stops at the end of the block.

    Attributes:
        name: Its name.
        scoped: Whether it records only what runs in the context that started it.
        kernels: Whether it records each kernel.
        inferences: Whether it records inferences.
        active: Whether it records.
        started: When it began, UTC.
        start_ns: The same, on the clock of :func:`time.perf_counter_ns`.
        outer: The scoped session around it.
        buffers: What it has recorded.
        append: Adds an entry; whoever calls it calls ``count`` first.
        count: Counts an entry.
        requests: Whether it records blocks on behalf of requests.
        numbers: Numbers inferences that belong to no request.
        at_stop: Called before it stops.
    """

    def __init__(
        self, name: str, *, scoped: bool, kernels: bool, only: frozenset[str] | None, limit: int
    ) -> None:
        self.name = name
        self.scoped = scoped
        self._only = only
        self._kernels = kernels
        self.look_at_sources()
        self.active = False
        self.outer = here.get() if scoped else None
        self.buffers = Buffers(limit)
        self.append, self.count = self.buffers.append, self.buffers.count
        self.numbers = itertools.count(1)
        self.at_stop: list[Callable[[ProfilingSession], None]] = []
        self._token: Token[ProfilingSession | None] | None = None
        self._trace: Trace | None = None
        self.started = datetime.datetime.now(datetime.timezone.utc)
        self.start_ns = time.perf_counter_ns()

    def takes(self, source: str) -> bool:
        """Whether it records what a source has to say."""
        return source not in _off and (self._only is None or source in self._only)

    def look_at_sources(self) -> None:
        """Notes which sources it takes that are asked for with each inference."""
        self.kernels = self._kernels and self.takes("kernel")
        self.inferences = self.takes("session")
        self.requests = self.takes("request")

    def activate(self) -> None:
        """Begins the recording.

        Raises:
            UsageError: Another session records everywhere.
        """
        global _everywhere
        with _lock:
            if not self.scoped:
                if _everywhere is not None:
                    raise UsageError(
                        f"the profiling session {_everywhere.name!r} records everywhere already: "
                        "stop it first, or give scoped=True"
                    )
                _everywhere = self
            _active.add(self)
            self.active = True
            _look_at_sessions()
        if self.scoped:
            self._token = here.set(self)

    def stop(self) -> Trace:
        """Ends the recording; one that has ended stays so.

        Returns:
            What was recorded.
        """
        if self._trace is None:
            try:
                for hook in self.at_stop:
                    hook(self)
            finally:
                self._deactivate()
            self._trace = self.trace()
            # Of what comes late, one is kept.
            self.buffers = Buffers(1)
            self.append, self.count = self.buffers.append, self.buffers.count
        return self._trace

    def trace(self) -> Trace:
        """Returns what has been recorded up to now."""
        if self._trace is not None:
            return self._trace
        # Here, since it needs this module, and only where a trace is made.
        from ingot.runtime.profiling.export import export

        return export(self)

    def save(self, path: str | Path) -> Path:
        """Writes what has been recorded up to now; see :meth:`Trace.save`."""
        return self.trace().save(path)

    def _deactivate(self) -> None:
        global _everywhere
        with _lock:
            _active.discard(self)
            if _everywhere is self:
                _everywhere = None
            self.active = False
            _look_at_sessions()
        if self._token is not None:
            # Stopped in another context than it was started in, it stays this one's, without
            # effect.
            with contextlib.suppress(ValueError):
                here.reset(self._token)
            self._token = None

    def __enter__(self) -> ProfilingSession:
        """Returns the session itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the session."""
        self.stop()


def current() -> ProfilingSession | None:
    """Returns the session that records what runs here.

    That is the innermost scoped session of this context, else the one that records everywhere.
    """
    session = here.get()
    while session is not None:
        if session.active:
            return session
        session = session.outer
    return _everywhere


def switch(source: str, *, on: bool) -> None:
    """Switches a source on or off for all sessions, those that are active included."""
    with _lock:
        (_off.discard if on else _off.add)(source)
        for session in _active:
            session.look_at_sources()


def is_on(source: str) -> bool:
    """Whether a source is on."""
    return source not in _off


def _look_at_sessions() -> None:
    global on, only
    on = bool(_active)
    only = _everywhere if len(_active) == 1 else None


def _stop_in_child() -> None:
    """In a forked child nothing records: what it would record is not the parent's to export."""
    global _everywhere, _lock
    _lock = threading.Lock()
    for session in _active:
        session.active = False
        session.buffers.renew_lock()
    _active.clear()
    _everywhere = None
    _look_at_sessions()
    this_thread.renew()


os.register_at_fork(after_in_child=_stop_in_child)
