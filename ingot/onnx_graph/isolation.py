"""Foreign native code that may end its process, run in a child that it cannot take along.

onnx's shape inference divides by strides and reads ranks unchecked: what an attribute says can end
the process by a signal, or have it reserve memory without end. A forked child shares the memory of
this process, so that nothing is copied to it and it begins in milliseconds; its memory and its time
are limited, and it hands back bytes.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import mmap
import os
import resource
import select
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from ingot.errors import signal_name

_PR_SET_PDEATHSIG = 1
_FAILED, _DONE = b"\0", b"\1"
_CHUNK = 1 << 20


class ForeignError(Exception):
    """The code raised an error; the message is what it said."""


class ForeignCrash(Exception):  # noqa: N818 - it is no error of the code that was called
    """The code ended its process or did not come to an end; the message says how."""


def run_isolated(function: Callable[[], bytes], *, memory_bytes: int, seconds: float) -> bytes:
    """Calls a function in a child of this process.

    Args:
        function: What to call. It must not take locks that other threads of this process may hold:
            only the calling thread goes along.
        memory_bytes: How much memory it may reserve.
        seconds: How long it may take.

    Returns:
        What the function returned.

    Raises:
        ForeignError: The function raised.
        ForeignCrash: The child ended by a signal, or ran out of time.
    """
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            # Of threads that do not go along; see above.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
    except OSError:
        # No more processes, or no promise of as much memory again: better unguarded than not.
        os.close(reading)
        os.close(writing)
        return _call(function)
    if child == 0:
        os.close(reading)
        _live_as_child(function, writing, memory_bytes)
    os.close(writing)
    try:
        answer = _read(reading, seconds)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) or not answer:
        killed = os.WIFSIGNALED(status)
        how = signal_name(os.WTERMSIG(status)) if killed else "without a word"
        raise ForeignCrash(f"it ends its process ({how})")
    if answer[:1] == _FAILED:
        raise ForeignError(answer[1:].decode(errors="replace"))
    return answer[1:]


def _call(function: Callable[[], bytes]) -> bytes:
    try:
        return function()
    except Exception as error:
        raise ForeignError(str(error)) from error


def _live_as_child(function: Callable[[], bytes], writing: int, memory_bytes: int) -> None:
    """Calls the function, sends what comes of it, and ends."""
    try:
        gc.disable()  # collecting would copy pages that are shared
        faulthandler.disable()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit_memory(memory_bytes)
        try:
            answer = _DONE + function()
        except Exception as error:  # noqa: BLE001 - of whatever kind foreign code raises
            answer = _FAILED + (str(error).strip() or type(error).__name__).encode(errors="replace")
        view = memoryview(answer)
        while view:
            view = view[os.write(writing, view) :]
    finally:
        os._exit(0)


def _limit_memory(more: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * mmap.PAGESIZE + more
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _read(reading: int, seconds: float) -> bytes:
    parts: list[bytes] = []
    end = time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([reading], [], [], max(end - time.monotonic(), 0))
        if not ready:
            raise ForeignCrash(f"it does not come to an end within {seconds:.0f} s")
        part = os.read(reading, _CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
