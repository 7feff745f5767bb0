"""Buffers keep the newest entries, count what they lost, and are read while threads add more."""

from __future__ import annotations

import os
import threading

import pytest

from ingot.runtime.profiling.buffers import Buffers, this_thread


def fill(buffers: Buffers, entries: int, tag: int = 0) -> None:
    for index in range(entries):
        buffers.count()
        buffers.append((tag, index))


@pytest.mark.parametrize(("entries", "lost"), [(0, 0), (9, 0), (10, 0), (11, 1), (1000, 990)])
def test_the_newest_entries_stay_and_the_others_are_counted(entries: int, lost: int) -> None:
    buffers = Buffers(10)
    fill(buffers, entries)
    for _ in range(3):
        assert buffers.read() == ([(0, index) for index in range(lost, entries)], lost)


def test_entries_of_several_parts_count_as_these() -> None:
    buffers = Buffers(10)
    fill(buffers, 1)
    for index in range(7):
        buffers.append_many((index,), 3)
    assert buffers.read() == ([(0, 0), (4,), (5,), (6,)], 12)
    buffers.append_many((7,), 11)
    assert buffers.read() == ([(0, 0)], 32)


def test_threads_that_come_and_go_leave_no_more_than_the_limit() -> None:
    buffers = Buffers(10)
    for tag in range(50):
        thread = threading.Thread(target=fill, args=(buffers, 4, tag))
        thread.start()
        thread.join()
    entries, lost = buffers.read()
    assert entries == [(tag, index) for tag in range(47, 50) for index in range(4)][-10:]
    assert lost == 190


def test_entries_are_read_while_threads_add_more() -> None:
    buffers = Buffers(1000)
    stop = threading.Event()

    def run(tag: int) -> None:
        index = 0
        while not stop.is_set():
            buffers.count()
            buffers.append((tag, index))
            index += 1

    threads = [threading.Thread(target=run, args=(tag,)) for tag in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            entries, lost = buffers.read()
            assert len(entries) <= 1000
            assert lost >= 0
            for tag in range(2):
                indices = [index for owner, index in entries if owner == tag]
                assert indices == list(range(indices[0], indices[-1] + 1)) if indices else True
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_thread_knows_its_id_and_name_also_after_a_fork() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(this_thread.facts), name="other")
    thread.start()
    thread.join()
    assert found == [(thread.native_id, "other")]
    assert this_thread.facts[0] == threading.get_native_id()
    child = os.fork()
    if child == 0:
        os._exit(int(this_thread.facts[0] != threading.get_native_id()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
