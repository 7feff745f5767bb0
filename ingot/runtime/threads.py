"""The threads that an inference uses: how many, and the pool that they belong to.

The pool is of Ingot's own library (``native/pool.c``): loops are cut into tasks that threads claim,
so that a thread that the system has put aside holds nobody up. Sessions share one pool, which
starts threads as they are needed; those that are bound to cores share one for the same cores.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Sequence

from ingot.errors import IngotError, UsageError
from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.native_library import native_library

SPIN_MICROSECONDS = 200
"""How long an idle worker looks for work before it sleeps: longer than most kernels take that run
on one thread between two parallel loops."""

_MOST_THREADS = 1024


class Pool:
    """A pool of threads; it ends with the last session that uses it.

    Attributes:
        handle: What the native library calls it.
    """

    def __init__(
        self, cores: Sequence[int] = (), spin_microseconds: int = SPIN_MICROSECONDS
    ) -> None:
        """Makes a pool without threads.

        Args:
            cores: The processors that its threads are bound to, one each, in turn; none for no
                binding.
            spin_microseconds: How long an idle worker looks for work before it sleeps.
        """
        library = native_library()
        array = (ctypes.c_int32 * len(cores))(*cores)
        self.handle: int = library.ingot_pool_create(array, len(cores), spin_microseconds * 1000)
        if not self.handle:
            raise IngotError("there is no memory for a pool of threads")
        self._library = library
        # Not at exit: a thread may still be running a session.
        weakref.finalize(self, library.ingot_pool_destroy, self.handle).atexit = False

    def grow(self, threads: int) -> None:
        """Has room for loops on so many threads, the caller included.

        Raises:
            IngotError: The system gives this process no more threads.
        """
        if self._library.ingot_pool_grow(self.handle, threads - 1) < threads - 1:
            raise IngotError(
                f"this process cannot start {threads} threads: use fewer, or raise its limits of "
                "threads (ulimit -u) and address space (ulimit -v)"
            )


_lock = threading.Lock()
_pools: weakref.WeakValueDictionary[tuple[tuple[int, ...], int], Pool] = (
    weakref.WeakValueDictionary()
)


def _after_fork() -> None:
    """In a child no other thread holds the lock."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def shared_pool(cores: Sequence[int] = (), spin_microseconds: int = SPIN_MICROSECONDS) -> Pool:
    """Returns the pool for some cores, which all sessions of this process share."""
    key = (tuple(cores), spin_microseconds)
    with _lock:
        pool = _pools.get(key)
        if pool is None:
            pool = _pools[key] = Pool(*key)
        return pool


def resolve_threads(threads: int | None) -> int:
    """Returns the number of threads to use; ``None`` means every CPU the process may keep busy.

    Raises:
        UsageError: The number is below one, or above what a pool can have.
    """
    if threads is None:
        return usable_cpus()
    if not 1 <= threads <= _MOST_THREADS:
        raise UsageError(f"threads must be from 1 to {_MOST_THREADS}, not {threads}")
    return threads
