"""On each lane an event lies within the one before or behind it; its request keeps it together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingot.runtime.profiling.lanes import lay_out
from ingot.runtime.profiling.trace import Event, Step


def event(name: str, start: int, end: int, request: str | None = None, thread: int = 1) -> Event:
    return Event("user", name, start, end - start, thread, request)


def lanes_of(*events: Event) -> dict[str, int]:
    placed, _, _ = lay_out(events, (), {1: "main"})
    order = list(dict.fromkeys(e.thread for e in sorted(placed, key=lambda e: e.thread)))
    return {e.name: order.index(e.thread) for e in placed}


events = st.lists(
    st.builds(
        lambda start, length, thread, request: event("e", start, start + length, request, thread),
        st.integers(0, 20),
        st.integers(0, 20),
        st.integers(1, 2),
        st.sampled_from([None, "a", "b"]),
    ),
    max_size=12,
)


@given(events)
def test_events_of_a_lane_are_nested_or_apart(found: list[Event]) -> None:
    placed, _, threads = lay_out(found, (), {1: "one", 2: "two"})
    assert sorted((e.start_ns, e.duration_ns, e.request or "") for e in placed) == sorted(
        (e.start_ns, e.duration_ns, e.request or "") for e in found
    )
    assert [e.start_ns for e in placed] == sorted(e.start_ns for e in placed)
    assert {e.thread for e in placed} <= set(threads)
    for index, first in enumerate(placed):
        for second in placed[index + 1 :]:
            if first.thread != second.thread:
                continue
            apart = second.start_ns >= first.end_ns
            nested = second.end_ns <= first.end_ns
            assert apart or nested


def test_what_is_nested_stays_on_its_thread() -> None:
    assert lanes_of(
        event("a", 0, 10), event("b", 0, 5, "r"), event("c", 1, 5), event("d", 5, 9)
    ) == {
        "a": 0,
        "b": 0,
        "c": 0,
        "d": 0,
    }


def test_what_overlaps_goes_beside() -> None:
    assert lanes_of(event("a", 0, 10), event("b", 5, 15), event("c", 10, 12)) == {
        "a": 0,
        "b": 1,
        "c": 0,
    }


def test_requests_stay_together() -> None:
    assert lanes_of(
        event("a", 0, 10, "r"),
        event("b", 2, 8, "s"),
        event("in a", 4, 6, "r"),
        event("in b", 4, 6, "s"),
    ) == {"a": 0, "b": 1, "in a": 0, "in b": 1}


def test_steps_are_on_the_lane_of_what_they_go_through() -> None:
    found = [event("a", 0, 10, "r"), event("b", 5, 15, "s"), event("x", 0, 9, None, 2)]
    steps = [Step("r", 0, 1), Step("s", 5, 1), Step("r", 3, 2), Step("s", 20, 2), Step("t", 0, 1)]
    placed, joined, threads = lay_out(found, steps, {1: "main", 2: "other"})
    beside = {e.name: e.thread for e in placed}["b"]
    assert joined == (Step("r", 0, 1), Step("r", 3, 2), Step("s", 5, beside), Step("s", 20, 2))
    assert threads == {1: "main", 2: "other", beside: "main (2)"}
