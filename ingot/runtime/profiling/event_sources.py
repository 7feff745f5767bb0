"""Sources of events: each has a name, by which it is switched on and off, and records."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, ParamSpec, TypeVar, cast, overload

from ingot.errors import UsageError
from ingot.runtime.profiling import recording
from ingot.runtime.profiling.buffers import this_thread
from ingot.runtime.profiling.entries import COUNTER, EVENT, MARK
from ingot.runtime.profiling.recording import ProfilingSession

P = ParamSpec("P")
R = TypeVar("R")
Hook = Callable[[ProfilingSession], None]

_now = time.perf_counter_ns
_request = recording.request_here.get
# What an entry may hold until it is exported: anything else would keep memory, or change.
_PLAIN = frozenset({str, int, float, bool, type(None)})


class Source:
    """Records events under a name; made by :func:`register_source`.

    While it is off, or nothing records, its methods do nothing.

    Attributes:
        name: The name; what it records has it as its category.
        description: What it tells about.
        on_start: Called with each session that starts and takes it.
        on_stop: Called with each such session before it stops; may still record.
    """

    def __init__(
        self, name: str, description: str, on_start: Hook | None, on_stop: Hook | None
    ) -> None:
        self.name = name
        self.description = description
        self.on_start = on_start
        self.on_stop = on_stop

    @property
    def enabled(self) -> bool:
        """Whether it is on, which it is at first."""
        return recording.is_on(self.name)

    @enabled.setter
    def enabled(self, on: bool) -> None:
        recording.switch(self.name, on=on)

    def event(self, name: str, /, **args: Any) -> RunningEvent:
        """Records how long a block takes: ``with source.event("read", file=name): ...``.

        Args:
            name: What the block does.
            **args: What else to say. What is no string, number or boolean is turned into text.
        """
        if not recording.on:
            return _NOTHING
        session = self.session_here()
        return _NOTHING if session is None else RunningEvent(session, self.name, name, args)

    def record(self, name: str, start_ns: int, end_ns: int, /, **args: Any) -> None:
        """Records an event that something else has timed.

        Args:
            name: What it is.
            start_ns: When it began, on the clock of :func:`time.perf_counter_ns`.
            end_ns: When it ended.
            **args: What else to say of it.
        """
        if recording.on and (session := self.session_here()) is not None:
            session.count()
            session.append(
                (
                    EVENT,
                    this_thread.facts,
                    self.name,
                    name,
                    start_ns,
                    end_ns,
                    _request(),
                    plain(args),
                )
            )

    @overload
    def traced(self, function: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def traced(
        self, name: str | None = None, /, **args: Any
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def traced(self, name: Any = None, /, **args: Any) -> Any:
        """Decorates a function, or a coroutine function: each call is an event.

        Args:
            name: What the call is; the function's name by default.
            **args: What else to say of each call.

        Raises:
            UsageError: It is a generator, of which a call only makes one.
        """
        if callable(name):
            return self._decorate(name, name.__qualname__, args)

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            return self._decorate(function, name or function.__qualname__, args)

        return decorate

    def mark(self, name: str, /, **args: Any) -> None:
        """Records a moment."""
        if recording.on and (session := self.session_here()) is not None:
            session.count()
            session.append(
                (MARK, this_thread.facts, self.name, name, _now(), _request(), plain(args))
            )

    def counter(self, name: str, /, **values: float) -> None:
        """Records values, each a series, which hold until they are recorded anew."""
        if recording.on and (session := self.session_here()) is not None:
            entry = COUNTER, this_thread.facts, self.name, name, _now(), numbers(name, values)
            session.count()
            session.append(entry)

    def session_here(self) -> ProfilingSession | None:
        """The session that records what this source says here."""
        session = recording.only or recording.current()
        return session if session is not None and session.takes(self.name) else None

    def _decorate(
        self, function: Callable[P, R], name: str, args: Mapping[str, Any]
    ) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(
                f"{function.__qualname__} is a generator, of which a call runs nothing: "
                "use event() within it"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def run_async(*given: P.args, **named: P.kwargs) -> Any:
                with self.event(name, **args):
                    return await function(*given, **named)

            return cast(Callable[P, R], run_async)

        @functools.wraps(function)
        def run(*given: P.args, **named: P.kwargs) -> R:
            if not recording.on:
                return function(*given, **named)
            with self.event(name, **args):
                return function(*given, **named)

        return run


class RunningEvent:
    """An event from when its block begins to when it ends."""

    __slots__ = ("_args", "_name", "_session", "_source", "_start")

    def __init__(
        self, session: ProfilingSession, source: str, name: str, args: dict[str, Any]
    ) -> None:
        self._session = session
        self._source = source
        self._name = name
        self._args = args

    def note(self, **args: Any) -> None:
        """Says more of the event, such as what came out."""
        self._args.update(args)

    def __enter__(self) -> RunningEvent:
        """Begins the event."""
        self._start = _now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Records it; an exception's type is stated as ``error``."""
        end = _now()
        args = self._args
        if kind is not None:
            args["error"] = kind.__name__
        stated = plain(args) if args else None
        session = self._session
        session.count()
        session.append(
            (EVENT, this_thread.facts, self._source, self._name, self._start, end, _request(),
             stated)
        )  # fmt: skip


class _Nothing(RunningEvent):
    """Stands for an event where nothing records."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def note(self, **args: Any) -> None:
        del args

    def __enter__(self) -> RunningEvent:
        return self

    def __exit__(self, *raised: object) -> None:
        del raised


_NOTHING = _Nothing()
_lock = threading.Lock()
_registered: dict[str, Source] = {}


def register_source(
    name: str,
    description: str = "",
    *,
    on_start: Hook | None = None,
    on_stop: Hook | None = None,
) -> Source:
    """Makes a source of events, once for each name.

    Args:
        name: Its name.
        description: What it tells about.
        on_start: Called with each session that starts and takes it, such as to begin sampling.
        on_stop: Called with each such session before it stops; may still record.

    Raises:
        UsageError: The name is taken, or empty.
    """
    if not name:
        raise UsageError("a source of events needs a name")
    source = Source(name, description, on_start, on_stop)
    with _lock:
        if name in _registered:
            raise UsageError(
                f"there is a source of events called {name!r} already: sources()[{name!r}] is it"
            )
        _registered[name] = source
    return source


def sources() -> Mapping[str, Source]:
    """Returns the sources by name; ``sources()["kernel"].enabled = False`` switches one off."""
    with _lock:
        return MappingProxyType(dict(_registered))


def plain(args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments as strings, numbers and booleans."""
    return {
        key: value if type(value) in _PLAIN else _plain_value(value) for key, value in args.items()
    }


def numbers(name: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Returns values as numbers of Python.

    Raises:
        UsageError: One is no number.
    """
    try:
        return {key: value if type(value) is int else float(value) for key, value in values.items()}
    except (TypeError, ValueError):
        shown = ", ".join(f"{key}={value!r}" for key, value in values.items())
        raise UsageError(f"counter {name} has a value that is no number: {shown[:200]}") from None


def _plain_value(value: Any) -> Any:
    # A scalar of NumPy knows its Python equal.
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "ndim", None) == 0:
        value = item()
    return value if type(value) in _PLAIN else str(value)


SESSION = register_source("session", "loading artifacts and running inferences")
KERNEL = register_source("kernel", "each kernel of an inference, in sessions with kernels=True")
REGION = register_source("region", "parts of a model that something other than code runs")
NPU = register_source("npu", "what an NPU is estimated to take")
REQUEST = register_source("request", "blocks on behalf of requests")
METRIC = register_source("metric", "figures of the program's own")
USER = register_source("user", "events of the program's own that name no other source")
