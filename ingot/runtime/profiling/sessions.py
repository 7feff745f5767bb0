"""Starting profiling sessions."""

from __future__ import annotations

from collections.abc import Iterable

from ingot.errors import UsageError
from ingot.runtime.profiling import recording
from ingot.runtime.profiling.event_sources import sources
from ingot.runtime.profiling.recording import ProfilingSession

DEFAULT_LIMIT = 100_000
"""Entries that a session keeps; an inference is one, with all that is said of it."""


def start(
    name: str,
    *,
    scoped: bool = False,
    kernels: bool = False,
    only: Iterable[str] | None = None,
    limit: int = DEFAULT_LIMIT,
) -> ProfilingSession:
    """Starts to record.

    A session records everywhere in the process, or, if it is scoped, what runs in the context that
    started it: this thread or task, coroutines that it awaits, tasks that it makes, and where its
    requests go. What a scoped session records, no session around it does.

    Args:
        name: What the session is called.
        scoped: Whether it records only here. Any number of scoped sessions may be active.
        kernels: Whether it records each kernel of an inference, which takes longer.
        only: Names of the sources to record; all that are on by default.
        limit: Entries that are kept, and as many kernels. The oldest are lost first, and counted.

    Returns:
        The session, to be stopped by ``stop()`` or by the end of a ``with`` block.

    Raises:
        UsageError: Another session records everywhere, there is no such source, or the limit is
            below one.
    """
    if limit < 1:
        raise UsageError(f"a limit of {limit} entries keeps nothing: give 1 or more")
    known = sources()
    chosen = None if only is None else frozenset([only] if isinstance(only, str) else only)
    if chosen is not None and (unknown := chosen - known.keys()):
        raise UsageError(
            f"no source of events is called {min(unknown)!r}; there are {', '.join(sorted(known))}"
        )
    session = ProfilingSession(name, scoped=scoped, kernels=kernels, only=chosen, limit=limit)
    session.activate()
    try:
        for source in known.values():
            if session.takes(source.name):
                if source.on_start is not None:
                    source.on_start(session)
                if source.on_stop is not None:
                    session.at_stop.append(source.on_stop)
    except BaseException:
        session.stop()
        raise
    return session


def current() -> ProfilingSession | None:
    """Returns the session that records what runs here.

    That is the innermost scoped session of this context, else the one that records everywhere.
    """
    return recording.current()
