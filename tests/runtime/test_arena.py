"""Blocks of an arena do not overlap, and take what was planned, to the byte."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence

import hypothesis
import pytest
from hypothesis import strategies as st

from ingot.runtime.native_library import GUARDED, HUGE_PAGES, native_library

ALIGNMENT = 64
DONE, NO_MEMORY, BEYOND_LIMIT = 0, -1, -2


class Arena(ctypes.Structure):
    """The structure of native/arena.h."""

    _fields_ = [
        ("holes", ctypes.c_void_p),
        ("hole_count", ctypes.c_int32),
        ("hole_room", ctypes.c_int32),
        ("chunks", ctypes.c_void_p),
        ("chunk_count", ctypes.c_int32),
        ("chunk_room", ctypes.c_int32),
        ("tail", ctypes.c_int64),
        ("highest", ctypes.c_int64),
        ("mapped", ctypes.c_int64),
        ("limit", ctypes.c_int64),
        ("flags", ctypes.c_int32),
        ("planned", ctypes.c_int32),
    ]

    def take(self, size: int) -> tuple[int, int]:
        out = ctypes.c_void_p()
        library = native_library()
        status = library.ingot_arena_take(
            ctypes.byref(self), ctypes.c_int64(size), ctypes.byref(out)
        )
        return status, out.value or 0

    def give(self, address: int, size: int) -> int:
        library = native_library()
        return int(
            library.ingot_arena_give(
                ctypes.byref(self), ctypes.c_void_p(address), ctypes.c_int64(size)
            )
        )

    def begin(self, *, planned: bool) -> None:
        native_library().ingot_arena_begin(ctypes.byref(self), int(planned))

    def reserve(self, size: int) -> int:
        return int(native_library().ingot_arena_reserve(ctypes.byref(self), ctypes.c_int64(size)))


@pytest.fixture
def arena() -> Iterator[Arena]:
    made = Arena()
    yield made
    native_library().ingot_arena_release(ctypes.byref(made))


# A size to take, or which of the blocks that are taken to give back.
Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.just("take"), st.integers(0, 5000)) | st.tuples(st.just("give"), st.integers(0)),
    max_size=60,
)


def follow(arena: Arena, steps: Sequence[Step]) -> list[int]:
    """Takes and gives; checks that blocks are aligned and apart; returns where they begin."""
    taken: dict[int, int] = {}
    begins = []
    for kind, number in steps:
        if kind == "give":
            if taken:
                address = sorted(taken)[number % len(taken)]
                assert arena.give(address, taken.pop(address)) == 0
            continue
        status, address = arena.take(number)
        assert status == DONE
        assert address % ALIGNMENT == 0
        size = max(number, 1)
        for other, length in taken.items():
            assert address + size <= other or other + max(length, 1) <= address
        taken[address] = number
        begins.append(address)
    return begins


@hypothesis.given(STEPS)
def test_an_execution_takes_what_was_planned(steps: list[Step]) -> None:
    arena = Arena()
    try:
        arena.begin(planned=True)
        planned = follow(arena, steps)
        need = arena.highest
        assert arena.mapped == 0
        assert arena.reserve(need) == DONE
        arena.begin(planned=False)
        real = follow(arena, steps)
        assert arena.chunk_count <= 1
        assert arena.highest == need
        if planned:
            offset = real[0] - planned[0]
            assert real == [address + offset for address in planned]
    finally:
        native_library().ingot_arena_release(ctypes.byref(arena))


@hypothesis.given(STEPS)
def test_what_was_not_planned_is_mapped_as_it_is_needed(steps: list[Step]) -> None:
    arena = Arena()
    try:
        arena.begin(planned=False)
        follow(arena, [(kind, 1000 * number) for kind, number in steps])
    finally:
        native_library().ingot_arena_release(ctypes.byref(arena))


def test_blocks_that_return_become_one(arena: Arena) -> None:
    arena.begin(planned=True)
    blocks = [arena.take(1000)[1] for _ in range(8)]
    top = arena.highest
    for block in (blocks[1], blocks[3], blocks[2], blocks[0]):
        arena.give(block, 1000)
    assert arena.hole_count == 1
    assert arena.take(4 * 1024)[1] == blocks[0]
    assert arena.highest == top


def test_the_smallest_hole_that_is_large_enough_is_taken(arena: Arena) -> None:
    arena.begin(planned=True)
    blocks = {size: arena.take(size)[1] for size in (4096, 64, 1024, 128, 2048, 192)}
    for size in (4096, 1024, 2048):
        arena.give(blocks[size], size)
    assert arena.take(1000)[1] == blocks[1024]
    assert arena.take(1500)[1] == blocks[2048]


@pytest.mark.parametrize("size", [-1, 1 << 47, (1 << 63) - 1])
def test_impossible_sizes_are_refused(arena: Arena, size: int) -> None:
    for planned in (True, False):
        arena.begin(planned=planned)
        assert arena.take(size)[0] == NO_MEMORY


def test_a_limit_holds_for_what_was_not_planned(arena: Arena) -> None:
    arena.limit = 4 << 20
    arena.begin(planned=False)
    assert arena.take(3 << 20)[0] == DONE
    assert arena.take(3 << 20)[0] == BEYOND_LIMIT


def test_huge_pages_begin_where_such_a_page_does(arena: Arena) -> None:
    arena.flags = HUGE_PAGES
    assert arena.reserve(3 << 20) == DONE
    arena.begin(planned=False)
    assert arena.take(64)[1] % (2 << 20) == 0
    assert arena.mapped == 4 << 20


@pytest.mark.parametrize(("size", "at", "seen"), [(100, 100, 1), (100, 99, 0), (4096, -1, 1)])
def test_what_is_written_around_a_guarded_block_is_seen(
    arena: Arena, size: int, at: int, seen: int
) -> None:
    """Beyond a page it would end the process; see tests/guarded."""
    arena.flags = GUARDED
    arena.begin(planned=False)
    address = arena.take(size)[1]
    if size < 4096:
        ctypes.c_char.from_address(address + at).value = b"!"
        assert arena.give(address, size) == seen
    else:
        assert address % 4096 == 0
        assert arena.give(address, size) == 0
