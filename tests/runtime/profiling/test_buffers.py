"""Buffers keep the newest entries of each thread, count what they lost, and stay bounded."""

from __future__ import annotations

import threading

import pytest

from ingot.runtime.profiling.buffers import Buffers, Entry


def fill(buffers: Buffers, entries: int, tag: int = 0) -> None:
    for index in range(entries):
        buffers.append((tag, index))


def in_threads(buffers: Buffers, count: int, entries: int) -> None:
    """Fills from threads that live and end one after the other."""
    for tag in range(count):
        thread = threading.Thread(target=fill, args=(buffers, entries, tag), name=f"t{tag}")
        thread.start()
        thread.join()


def kept(buffers: Buffers) -> list[Entry]:
    return [entry for thread in buffers.entries() for entry in thread.entries]


@pytest.mark.parametrize(("entries", "dropped"), [(0, 0), (9, 0), (10, 0), (11, 1), (1000, 990)])
def test_the_newest_entries_stay_and_the_others_are_counted(entries: int, dropped: int) -> None:
    buffers = Buffers(10)
    fill(buffers, entries)
    for _ in range(3):
        assert buffers.dropped == dropped
        assert kept(buffers) == [(0, index) for index in range(dropped, entries)]


def test_threads_have_buffers_of_their_own() -> None:
    buffers = Buffers(10)
    barrier = threading.Barrier(3)

    def run(tag: int) -> None:
        barrier.wait()
        fill(buffers, 15, tag)
        barrier.wait()
        barrier.wait()

    threads = [threading.Thread(target=run, args=(tag,), name=f"t{tag}") for tag in range(2)]
    for thread in threads:
        thread.start()
    barrier.wait()
    barrier.wait()
    found = {t.name: t for t in buffers.entries()}
    assert {name: t.entries for name, t in found.items()} == {
        f"t{tag}": tuple((tag, index) for index in range(5, 15)) for tag in range(2)
    }
    assert found["t0"].thread != found["t1"].thread
    assert buffers.dropped == 10
    barrier.wait()
    for thread in threads:
        thread.join()


def test_threads_that_come_and_go_share_the_room_of_one() -> None:
    buffers = Buffers(10)
    in_threads(buffers, 50, 4)
    assert len(buffers._open) <= 2
    assert len(kept(buffers)) + buffers.dropped == 200
    assert len(kept(buffers)) <= 20
    assert kept(buffers)[-1] == (49, 3) or (49, 3) in kept(buffers)
    assert {t.name for t in buffers.entries()} >= {"t48", "t49"}


def test_entries_that_stand_for_many_count_as_such() -> None:
    buffers = Buffers(10)
    for index in range(7):
        buffers.append_many((index,), 3)
    assert kept(buffers) == [(4,), (5,), (6,)]
    assert buffers.dropped == 12
    buffers.append_many((7,), 11)
    assert kept(buffers) == []
    assert buffers.dropped == 32


def test_entries_are_read_while_threads_add_more() -> None:
    buffers = Buffers(1000)
    stop = threading.Event()

    def run() -> None:
        index = 0
        while not stop.is_set():
            buffers.append((0, index))
            index += 1

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            for thread_entries in buffers.entries():
                indices = [entry[1] for entry in thread_entries.entries]
                assert indices == list(range(indices[0], indices[0] + len(indices)))
            assert buffers.dropped >= 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
