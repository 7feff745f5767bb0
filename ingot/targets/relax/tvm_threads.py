"""The number of threads that kernels use which the compiler itself runs, in TVM's own pool.

TVM keeps one thread pool per calling thread. It sizes a pool when the pool is made, for half of
the cores, and pins the caller to the cores it uses. Ingot makes each pool large enough for every
core that the process may use, leaves the affinity of all threads alone, and sets the number of
workers in use before a call when it differs from the last one on that thread.

The size that a pool would have is asked for again at every parallel loop, and where it is one (on a
machine of two cores, by TVM's halving) the loop runs on the caller alone, whatever the pool is. So
the variable that states it stays set in the environment of the process.

A worker that has nothing to do yields in a loop before it sleeps; TVM's default is so many turns
that workers which are never needed take the cores from the others for the first seconds, and those
that are needed for a tenth of a second after each inference. Ingot lets them give up sooner: still
long after the next parallel loop of the same inference is due.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import threading
from collections.abc import Iterator

import tvm

from ingot.errors import IngotError, UsageError
from ingot.runtime.cpu_quota import usable_cpus

# The value of TVM's AffinityMode "big cores first"; without binding it only selects a count.
_BIG_CORES_FIRST = 1
# A pool cannot grow; idle workers sleep, so a small machine gets room for more threads than cores.
_SMALLEST_POOL = 8
_POOL_SIZE_VARIABLE = "TVM_NUM_THREADS"
_SPIN_VARIABLE = "TVM_THREAD_POOL_SPIN_COUNT"
# A turn takes about 0.4 microseconds: a few milliseconds in all.
_SPINS = "10000"

# Of glibc: bytes of a semaphore, at least, and the option for the number of its memory areas.
_SEMAPHORE_BYTES = 64
_ARENA_MAX = -8

_local = threading.local()


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _possible_size(wanted: int, least: int) -> int:
    """Returns how many threads a pool may have: TVM ends the process if it cannot start one.

    Raises:
        IngotError: Not even the least number can be started.
    """
    for size in (wanted, least):
        if _can_start(size):
            return size
    raise _no_threads(least)


def _can_start(count: int) -> bool:
    """Whether the limits of processes and of address space leave room for so many threads.

    The threads that are started wait in the C library. One of Python's would allocate, and for that
    the library reserves 64 MiB of address space, which it keeps: trying would use up what is tried.
    """
    library = ctypes.CDLL(None)
    semaphore = ctypes.create_string_buffer(_SEMAPHORE_BYTES)
    library.sem_init(semaphore, 0, 0)
    started = []
    for _ in range(count - 1):  # the caller is one of the pool's
        thread = ctypes.c_ulong()
        if library.pthread_create(ctypes.byref(thread), None, library.sem_wait, semaphore):
            break
        started.append(thread)
    for _ in started:
        library.sem_post(semaphore)
    for thread in started:
        library.pthread_join(thread, None)
    return len(started) == count - 1


@contextlib.contextmanager
def _address_space_for_stacks() -> Iterator[None]:
    """Keeps threads that have started from reserving what others still need to start.

    Where address space is limited, the C library gives them no memory areas of their own meanwhile.
    """
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    if limited:
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
    try:
        yield
    finally:
        if limited:
            ctypes.CDLL(None).mallopt(_ARENA_MAX, 0)  # the default: by the number of cores


def _no_threads(count: int) -> IngotError:
    return IngotError(
        f"this process cannot start {count} threads: use fewer, or raise its limits of threads "
        "(ulimit -u) and address space (ulimit -v)"
    )


def use_threads(threads: int) -> None:
    """Sets the number of threads for parallel loops that the calling thread starts from now on.

    Raises:
        UsageError: More threads are asked for than the calling thread's pool was made for.
        IngotError: The system gives this process no more threads.
    """
    if getattr(_local, "threads", None) == threads:
        return
    pool_size: int = getattr(_local, "pool_size", 0)
    if pool_size == 0:
        pool_size = _possible_size(max(threads, usable_cpus(), _SMALLEST_POOL), threads)
    elif threads > pool_size:
        raise UsageError(
            f"{threads} threads asked for, but this thread's pool was made for {pool_size}: use "
            "the most threads first, or another thread"
        )
    # TVM reads it once, when the first worker starts; the caller's own setting stays.
    os.environ.setdefault(_SPIN_VARIABLE, _SPINS)
    # Written once: another thread may be reading the environment.
    if os.environ.get(_POOL_SIZE_VARIABLE) != str(pool_size):
        os.environ[_POOL_SIZE_VARIABLE] = str(pool_size)
    try:
        with _environment(TVM_BIND_THREADS="0"), _address_space_for_stacks():
            tvm.get_global_func("runtime.config_threadpool")(_BIG_CORES_FIRST, threads)
    except RuntimeError as error:
        raise _no_threads(threads) from error
    _local.pool_size = pool_size
    _local.threads = threads
