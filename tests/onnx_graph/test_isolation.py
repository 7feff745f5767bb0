"""What foreign code does to its process does not reach this one."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import threading
import time

import psutil
import pytest

from ingot.onnx_graph.isolation import ForeignCrash, ForeignError, run_isolated


def isolated(function, *, seconds: float = 30.0) -> bytes:
    return run_isolated(function, memory_bytes=1 << 30, seconds=seconds)


def test_the_answer_comes_back_whole() -> None:
    big = os.urandom(5_000_000)
    assert isolated(lambda: big) == big
    assert isolated(lambda: b"") == b""


def test_an_error_comes_back_as_what_it_said() -> None:
    def fail() -> bytes:
        raise ValueError("no such thing")

    with pytest.raises(ForeignError, match="no such thing"):
        isolated(fail)


def test_memory_is_limited() -> None:
    with pytest.raises(ForeignError, match="MemoryError"):
        isolated(lambda: bytes(2 << 30))


@pytest.mark.parametrize("how", ["signal", "exit"])
def test_a_process_that_ends_ends_alone(how: str) -> None:
    def end() -> bytes:
        if how == "signal":
            ctypes.string_at(0)
        os._exit(3)

    with pytest.raises(ForeignCrash, match="ends its process"):
        isolated(end)


def test_what_does_not_end_is_ended() -> None:
    def stay() -> bytes:
        while True:
            time.sleep(1)

    with pytest.raises(ForeignCrash, match="does not come to an end within 0 s"):
        isolated(stay, seconds=0.2)


def test_where_no_process_can_be_started_the_code_runs_here(monkeypatch) -> None:
    def refuse() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr("os.fork", refuse)
    open_before = len(os.listdir("/proc/self/fd"))
    assert isolated(lambda: str(os.getpid()).encode()) == str(os.getpid()).encode()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_an_interruption_takes_the_child_along() -> None:
    waiting = threading.get_ident()
    before = psutil.Process().children()

    def interrupt() -> None:
        time.sleep(0.3)
        signal.pthread_kill(waiting, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        isolated(lambda: time.sleep(60) or b"")
    assert time.monotonic() - begun < 30
    assert psutil.Process().children() == before
