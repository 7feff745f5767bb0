"""Requests: whatever threads work for one, their events have its id and are joined by arrows."""

from __future__ import annotations

import itertools
import time
from contextvars import Token
from types import TracebackType
from typing import Any

from ingot.runtime.profiling import recording
from ingot.runtime.profiling.entries import PLACE, STEP
from ingot.runtime.profiling.event_sources import REQUEST, plain
from ingot.runtime.profiling.recording import ProfilingSession

_now = time.perf_counter_ns
_numbers = itertools.count(1)


def request(identity: str | None = None, /, name: str = "request", **args: Any) -> RequestBlock:
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
    session = REQUEST.session_here()
    if session is None:
        return _NOTHING
    return Request(session, str(next(_numbers)) if identity is None else identity).attach(
        name, **args
    )


def current_request() -> str | None:
    """Returns the id of the request that this context works on."""
    return recording.request_here.get()


class Request:
    """A handle of a request, which may go through queues to other threads.

    Attributes:
        id: Its id; empty where nothing records.
    """

    __slots__ = ("_session", "id")

    def __init__(self, session: ProfilingSession | None, id_: str) -> None:
        self._session = session
        self.id = id_

    def attach(self, name: str = "request", /, **args: Any) -> RequestBlock:
        """Continues the request here, on whatever thread: ``with request.attach(): ...``.

        Args:
            name: What the block does.
            **args: What else to say of it.
        """
        if self._session is None or not self._session.active:
            return _NOTHING
        return RequestBlock(self, self._session, name, args)

    def step(self) -> None:
        """Says that the request comes through what runs here, such as a batch of several."""
        if self._session is not None and self._session.active:
            self._session.append((STEP, _now(), self.id))


class RequestBlock:
    """A block on behalf of a request."""

    __slots__ = (
        "_args",
        "_name",
        "_outer_request",
        "_outer_session",
        "_request",
        "_session",
        "_start",
    )

    def __init__(
        self, request: Request, session: ProfilingSession, name: str, args: dict[str, Any]
    ) -> None:
        self._request = request
        self._session = session
        self._name = name
        self._args = args
        self._outer_session: Token[ProfilingSession | None] | None = None

    def __enter__(self) -> Request:
        """Begins the block."""
        self._outer_request = recording.request_here.set(self._request.id)
        if self._session.scoped:
            # A scoped session goes along, to threads that have a context of their own.
            self._outer_session = recording.here.set(self._session)
        self._start = _now()
        return self._request

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Records the block; an exception's type is stated as ``error``."""
        end = _now()
        if kind is not None:
            self._args["error"] = kind.__name__
        args = plain(self._args) if self._args else None
        self._session.append((PLACE, self._name, self._start, end, self._request.id, args))
        recording.request_here.reset(self._outer_request)
        if self._outer_session is not None:
            recording.here.reset(self._outer_session)


class _Nothing(RequestBlock):
    """Stands for a block where nothing records."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def __enter__(self) -> Request:
        return _NO_REQUEST

    def __exit__(self, *raised: object) -> None:
        del raised


_NO_REQUEST = Request(None, "")
_NOTHING = _Nothing()
