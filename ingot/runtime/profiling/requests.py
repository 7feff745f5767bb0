"""Requests: whatever threads work for one, their events have its id and are joined by arrows."""

from __future__ import annotations

import itertools
import time
from contextvars import Token
from types import TracebackType
from typing import Any

from ingot.runtime.profiling import recording
from ingot.runtime.profiling.buffers import this_thread
from ingot.runtime.profiling.entries import PLACE, STEP
from ingot.runtime.profiling.event_sources import plain
from ingot.runtime.profiling.recording import ProfilingSession

# Looked up once: what a request costs is mostly what it looks at.
_now = time.perf_counter_ns
_set_request = recording.request_here.set
_reset_request = recording.request_here.reset
_numbers = itertools.count(1)


class Request:
    """A handle of a request, which may go through queues to other threads.

    As a context manager it is a block on behalf of the request; events in it belong to that.
    """

    __slots__ = ("_args", "_name", "_outer", "_request", "_session", "_start")

    def __init__(
        self, session: ProfilingSession, identity: str | int, name: str, args: dict[str, Any]
    ) -> None:
        self._session = session
        self._request = identity
        self._name = name
        self._args = args

    @property
    def id(self) -> str:
        """Its id; empty where nothing records."""
        return str(self._request)

    def attach(self, name: str = "request", /, **args: Any) -> Request:
        """Continues the request here, on whatever thread: ``with request.attach(): ...``.

        Args:
            name: What the block does.
            **args: What else to say of it.
        """
        session = self._session
        return type(self)(session, self._request, name, args) if session.active else _NOTHING

    def step(self) -> None:
        """Says that the request comes through what runs here, such as a batch of several."""
        if (session := self._session).active:
            session.count()
            session.append((STEP, this_thread.facts, _now(), self._request))

    def __enter__(self) -> Request:
        """Begins the block."""
        self._outer = _set_request(self._request)
        self._start = _now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Records the block; an exception's type is stated as ``error``."""
        end = _now()
        session, args = self._session, self._args
        if kind is not None:
            args["error"] = kind.__name__
        stated = plain(args) if args else None
        session.count()
        session.append(
            (PLACE, this_thread.facts, self._name, self._start, end, self._request, stated)
        )  # fmt: skip
        _reset_request(self._outer)


class _ScopedRequest(Request):
    """Takes its session along, to threads that have a context of their own."""

    __slots__ = ("_outer_session",)

    def __enter__(self) -> Request:
        self._outer_session: Token[ProfilingSession | None] = recording.here.set(self._session)
        return super().__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, traceback)
        recording.here.reset(self._outer_session)


class _Nothing(Request):
    """Stands for a request where nothing records."""

    __slots__ = ()

    def __init__(self) -> None:
        self._request = ""

    def attach(self, name: str = "request", /, **args: Any) -> Request:
        del name, args
        return self

    def step(self) -> None:
        pass

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *raised: object) -> None:
        del raised


_NOTHING = _Nothing()


def request(identity: str | None = None, /, name: str = "request", **args: Any) -> Request:
    """Begins a request here, for the block of a ``with`` statement, and gives a handle of it.

    Events in the block belong to it, on this thread and in the coroutines that it awaits. The
    handle takes it to other threads: :meth:`Request.attach`.

    Args:
        identity: Its id; a number of this process by default.
        name: What the block does.
        **args: What else to say of it.
    """
    if not recording.on:
        return _NOTHING
    session = recording.only or recording.current()
    if session is None or not session.requests:
        return _NOTHING
    kind = _ScopedRequest if session.scoped else Request
    return kind(session, next(_numbers) if identity is None else identity, name, args)


def current_request() -> str | None:
    """Returns the id of the request that this context works on."""
    request = recording.request_here.get()
    return None if request is None else str(request)
