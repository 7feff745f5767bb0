"""Builds in a child of the test's process, with something of the machine broken."""

from __future__ import annotations

import ctypes
import dataclasses
import io
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ingot.cli.main import main
from ingot.compiler import build

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_PRIVATE, _READ_ONLY = (1 << 18) | (1 << 14), 1
_FAILED_BEFORE = 99


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: Its exit code; the negative number of the signal that ended it.
        said: What it wrote to standard output and error.
    """

    code: int
    said: str

    @property
    def error(self) -> str:
        """The last line of it."""
        return self.said.strip().splitlines()[-1] if self.said.strip() else ""


def command(*arguments: object, fault: Callable[[], None] = lambda: None) -> Ended:
    """Runs a command of Ingot's in a child in which a fault has been brought about.

    Args:
        *arguments: The command.
        fault: Called in the child, before.
    """
    return in_child(lambda: main([str(argument) for argument in arguments]), fault)


def in_child(work: Callable[[], int], fault: Callable[[], None] = lambda: None) -> Ended:
    """Does something in a child of this process; its result is the child's exit code."""
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            code = _FAILED_BEFORE
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
                sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
                fault()
                code = work()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return Ended(os.waitstatus_to_exitcode(status), output.read().decode(errors="replace"))


def raised_at(stage: str, number: int) -> Callable[[], None]:
    """A fault: the process gets a signal when a stage of the build begins.

    ``synced`` is when the artifact has been written and is synced, before it is renamed.
    """

    def install() -> None:
        if stage == "synced":
            sync = os.fsync

            def fsync(descriptor: int) -> None:
                sync(descriptor)
                os.kill(os.getpid(), number)

            os.fsync = fsync
            return
        begin = build._Stages.__call__

        def begun(stages: build._Stages, name: str) -> None:
            begin(stages, name)
            if name == stage:
                os.kill(os.getpid(), number)

        build._Stages.__call__ = begun  # type: ignore[method-assign]

    return install


def no_temporary_folder() -> None:
    """A fault: none of the usual folders for temporary files can be written to."""
    tempfile.tempdir = None
    tempfile._candidate_tempdir_list = lambda: ["/proc/none"]  # type: ignore[attr-defined]


def jumping_clock() -> None:
    """A fault: the clock of the day jumps ten years on, and back, at each look."""
    now, looks = time.time, [0]

    def jumped() -> float:
        looks[0] += 1
        return now() + (looks[0] % 3 - 1) * 10 * 365 * 86400

    time.time = jumped


def mounted(folder: Path, options: str = "", *, read_only: bool = False) -> Callable[[], None]:
    """A fault: a folder is a file system of its own; for the child alone.

    Args:
        folder: The folder.
        options: Of the memory file system that is there; what is in the folder stays if empty.
        read_only: Whether nothing can be written there.
    """

    def install() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        flags = _NEW_MOUNTS if os.getuid() == 0 else _NEW_MOUNTS | _NEW_USER
        _checked(libc.unshare(flags))
        _checked(libc.mount(b"none", b"/", None, _PRIVATE, None))
        where = os.fsencode(folder)
        if options:
            _checked(libc.mount(b"tmpfs", where, b"tmpfs", 0, options.encode()))
        else:
            _checked(libc.mount(where, where, None, 1 << 12, None))  # a bind mount
        if read_only:
            remount = (1 << 5) | _READ_ONLY | (0 if options else 1 << 12)
            _checked(libc.mount(b"none", where, None, remount, options.encode() or None))

    return install


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def can_mount() -> bool:
    """Whether a child may have file systems of its own."""
    with tempfile.TemporaryDirectory() as name:
        fault = mounted(Path(name), "size=64k")
        return in_child(lambda: 0, fault).code == 0
