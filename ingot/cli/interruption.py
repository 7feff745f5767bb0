"""Ctrl-C: it ends a command wherever it comes, and is told as what it is.

The handler raises. Foreign code that calls back into Python, such as a pass of TVM's, may turn that
into an error of its own, or a tool whose failure matters not may swallow it; so it is noted as
well, and raised again at the next step that a command tells of.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_happened = threading.Event()


class Interrupted(BaseException):
    """Ctrl-C, as an exception that the command-line library does not take for its own."""


@contextlib.contextmanager
def noticed() -> Iterator[None]:
    """Takes Ctrl-C in the block as an interruption; only the main thread can.

    An interruption is one of this block: what the process does later is not ended by it.
    """
    _happened.clear()
    try:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, _interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
    finally:
        _happened.clear()


def happened() -> bool:
    """Whether there was one in this command."""
    return _happened.is_set()


def end_if_interrupted() -> None:
    """Ends a command whose interruption was swallowed.

    Raises:
        Interrupted: There was one.
    """
    if _happened.is_set():
        raise Interrupted


def _interrupt(*_: object) -> None:
    _happened.set()
    raise Interrupted
