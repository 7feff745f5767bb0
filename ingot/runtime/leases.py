"""Mapped files that nobody changes: a copy takes the mapping's place before a writer goes on.

A process that has a file mapped sees what others write to it, and is ended by SIGBUS where they cut
it short. Linux has a remedy in file leases (``fcntl(2)``, ``F_SETLEASE``): who opens the file for
writing, or truncates it, waits until the holder of the lease has given it up, up to
``/proc/sys/fs/lease-break-time`` seconds (45). The holder is told by a signal, here to a thread of
its own, which has it blocked, so that no other part of the process sees it.

A lease takes a local file system, the file's owner (or ``CAP_LEASE``), and that nobody has the file
open for writing. Where one of these is missing, the caller has to do with a copy from the start.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import mmap
import os
import signal
import struct
import threading
import weakref

from ingot.runtime.memory import map_file, replace_by_copy, replace_by_zeros, unmap

_SET_OWNER = 15  # F_SETOWN_EX
_OWNER_IS_A_THREAD = 0  # F_OWNER_TID
_SIGNAL = signal.SIGIO

# Held by who changes what follows. A finalizer may ask for it while the same thread holds it.
_lock = threading.RLock()
# What is mapped from files, by address.
_guarded: dict[int, FixedMapping] = {}
# The thread that is told of writers, by the system's number.
_watcher: int | None = None


@dataclasses.dataclass
class FixedMapping:
    """A part of a file that is mapped, and stays as it is whatever happens to the file.

    Attributes:
        address: Where its first page is mapped.
        length: Bytes that are mapped, whole pages.
        offset: Where they begin in the file.
        lost: Whether the contents could not be kept: what was computed from them is void.
    """

    address: int
    length: int
    offset: int
    lost: bool = False
    _descriptor: int = -1
    _state: tuple[int, int] = (0, 0)
    _copying: bool = False
    _ended: bool = False

    def leave_file(self) -> None:
        """Puts a copy in the place of the file's pages and gives up the lease."""
        self._copying = True
        try:
            self._copy()
        except (MemoryError, OSError):
            self.lost = True
            # Not the file's pages any more, whose end may be cut off; and no result counts.
            with contextlib.suppress(MemoryError, OSError):
                replace_by_zeros(self.address, self.length)
        self._copying = False
        self._close()
        if self._ended:
            unmap(self.address, self.length)

    def is_wanted(self) -> bool:
        """Whether somebody waits to write to the file, or has no longer waited."""
        return (
            self._descriptor >= 0
            and fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK
        )

    def renew(self) -> None:
        """Takes a lease of this process's own in a child, or leaves the file."""
        old = self._descriptor
        try:
            self._descriptor = _take_lease(old)
        except OSError:
            self._descriptor = old
            self.leave_file()
        else:
            os.close(old)

    def _copy(self) -> None:
        whole = replace_by_copy(self.address, self.length, self._descriptor, self.offset)
        # A holder that has been stopped for too long is no longer waited for.
        self.lost = not whole or _state(self._descriptor) != self._state

    def release(self) -> None:
        """Ends mapping and lease."""
        with _lock:
            # The collector may have it end in the midst of copying, in the thread that copies.
            self._ended = True
            if not self._copying:
                self._close()
                unmap(self.address, self.length)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        _guarded.pop(self.address, None)


def map_fixed(descriptor: int, offset: int, length: int) -> tuple[FixedMapping, memoryview] | None:
    """Maps a part of a file such that its contents stay as they are.

    Args:
        descriptor: The file, open for reading.
        offset: Where the part begins, in bytes.
        length: Its bytes.

    Returns:
        The mapping and the part's bytes, which keep it alive; None where the system gives no lease.

    Raises:
        MemoryError: The address space has no room for it.
    """
    begin = offset - offset % mmap.PAGESIZE
    size = -(-(offset + length - begin) // mmap.PAGESIZE) * mmap.PAGESIZE
    with _lock:
        try:
            _watch()
            lease = _take_lease(descriptor)
        except (OSError, RuntimeError):
            return None
        try:
            address = map_file(descriptor, begin, size)
        except OSError:
            os.close(lease)
            return None
        except MemoryError:
            os.close(lease)
            raise
        mapping = FixedMapping(address, size, begin, False, lease, _state(lease))
        _guarded[address] = mapping
        # The pages end with the last array that has them.
        memory = (ctypes.c_ubyte * length).from_address(address + offset - begin)
        weakref.finalize(memory, mapping.release).atexit = False
    return mapping, memoryview(memory).cast("B")


def _state(descriptor: int) -> tuple[int, int]:
    state = os.fstat(descriptor)
    return state.st_size, state.st_mtime_ns


def _take_lease(descriptor: int) -> int:
    """Opens a file anew with a lease, and returns the descriptor, whose closing ends the lease.

    Anew, because a lease ends with the last use of what has been opened, and a mapping is one.

    Raises:
        OSError: The system gives none.
    """
    lease = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        owner = struct.pack("ii", _OWNER_IS_A_THREAD, _watcher or 0)
        fcntl.fcntl(lease, _SET_OWNER, owner)
        fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        os.close(lease)
        raise
    return lease


def _watch() -> None:
    """Starts the thread that is told of writers, where it does not run yet.

    Raises:
        RuntimeError: The system gives no thread.
    """
    if _watcher is None:
        ready = threading.Event()
        threading.Thread(
            target=_keep_watch, args=(ready,), name="ingot-leases", daemon=True
        ).start()
        ready.wait()


def _keep_watch(ready: threading.Event) -> None:
    global _watcher
    signal.pthread_sigmask(signal.SIG_BLOCK, {_SIGNAL})
    _watcher = threading.get_native_id()
    ready.set()
    while True:
        signal.sigwait({_SIGNAL})
        with _lock:
            for mapping in list(_guarded.values()):
                if mapping.is_wanted():
                    mapping.leave_file()


def _in_child() -> None:
    """Goes on in a child process, which has the mappings, but not the thread."""
    global _lock, _watcher
    _lock, _watcher = threading.RLock(), None
    if not _guarded:
        return
    with _lock:
        try:
            _watch()
        except RuntimeError:
            for mapping in list(_guarded.values()):
                mapping.leave_file()
        for mapping in list(_guarded.values()):
            mapping.renew()


def _before_fork() -> None:
    _lock.acquire()


def _in_parent() -> None:
    _lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
