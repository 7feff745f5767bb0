"""The number of threads is what was asked for, in each calling thread."""

from __future__ import annotations

import concurrent.futures
import os

import pytest

from ingot.errors import UsageError
from ingot.runtime.library import global_function
from ingot.runtime.threads import available_cores, resolve_threads, use_threads


def threads_in_use(threads: int) -> int:
    use_threads(threads)
    return int(global_function("runtime.NumThreads")())


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_fresh_thread_gets_the_number_asked_for(threads: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert executor.submit(threads_in_use, threads).result() == threads


def test_the_number_can_change_up_and_down() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        asked = [2, 1, 4, 1]
        assert [executor.submit(threads_in_use, n).result() for n in asked] == asked


def test_more_than_the_pool_holds_is_refused() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        executor.submit(use_threads, 1).result()
        with pytest.raises(UsageError, match="this thread's pool was made for"):
            executor.submit(use_threads, 1000).result()


def test_none_means_every_core_that_the_process_may_use() -> None:
    assert resolve_threads(None) == available_cores() == len(os.sched_getaffinity(0))
