"""Events lie within each other by time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingot.report.traces.events import Event
from ingot.report.traces.nesting import nested


def event(name: str, start: int, end: int, thread: int = 1, request: str | None = None, **args):
    return Event("s", name, start, end - start, (0, thread), request, args)


def described(events) -> list[tuple[str, int, str | None, int]]:
    found = nested(events)
    return [
        (e.name, e.depth, found[e.parent].name if e.parent >= 0 else None, e.self_time)
        for e in found
    ]


def test_what_lies_within_takes_its_time_from_what_is_around_it() -> None:
    assert described([event("c", 20, 30), event("a", 0, 100), event("b", 10, 50)]) == [
        ("a", 0, None, 60), ("b", 1, "a", 30), ("c", 2, "b", 10),
    ]  # fmt: skip


def test_neighbours_share_a_row() -> None:
    assert described([event("a", 0, 10), event("b", 10, 20), event("c", 20, 20)]) == [
        ("a", 0, None, 10), ("b", 0, None, 10), ("c", 0, None, 0),
    ]  # fmt: skip


def test_what_overlaps_is_drawn_below_and_is_no_part() -> None:
    chain = [event(str(i), 10 * i, 10 * i + 15) for i in range(6)]
    assert described(chain) == [(str(i), i % 2, None, 15) for i in range(6)]


def test_rounding_of_ends_does_not_part_them() -> None:
    assert described([event("a", 0, 10), event("b", 5, 11)]) == [
        ("a", 0, None, 4), ("b", 1, "a", 6),
    ]  # fmt: skip


def test_threads_and_estimates_are_lanes_of_their_own() -> None:
    events = [
        event("a", 0, 10),
        event("b", 2, 4, thread=2),
        event("npu", 1, 50, estimate=True),
        event("c", 5, 6),
    ]
    assert described(events) == [
        ("a", 0, None, 9), ("c", 1, "a", 1), ("npu", 0, None, 49), ("b", 0, None, 2),
    ]  # fmt: skip


def test_a_request_is_that_of_the_event_around() -> None:
    found = nested([event("run", 0, 9, request="r"), event("k", 1, 2), event("other", 10, 11)])
    assert [e.request for e in found] == ["r", "r", None]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=30))
def test_no_two_events_of_a_row_overlap_and_no_time_is_counted_twice(spans) -> None:
    found = nested([event("e", start, start + length) for start, length in spans])
    for index, one in enumerate(found):
        for other in found[:index]:
            if one.depth == other.depth and one.duration and other.duration:
                assert one.start >= other.end or other.start >= one.end
    for one in found:
        if one.parent >= 0:
            around = found[one.parent]
            assert around.depth < one.depth
            assert around.start <= one.start
            assert one.end <= around.end + 1
        assert 0 <= one.self_time <= one.duration
