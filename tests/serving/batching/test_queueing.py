from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingot.serving.batching.queueing import Ticket, WaitingLine
from ingot.serving.requests import InferenceRequest


def ticket(
    rows: int = 1, key: int = 0, priority: int = 10, deadline: float | None = None
) -> Ticket:
    request = InferenceRequest({}, priority=priority, deadline=deadline)
    return Ticket(request, rows, ((key,),), lambda *_: None)


def test_urgent_requests_go_first_and_equal_ones_in_the_order_of_their_arrival() -> None:
    line = WaitingLine()
    tickets = [ticket(), ticket(), ticket(priority=1), ticket(priority=20)]
    for one in tickets:
        line.add(one)
    assert line.take(tickets[0].key, 4) == [tickets[2], tickets[0], tickets[1], tickets[3]]


def test_only_requests_of_one_key_go_together() -> None:
    line = WaitingLine()
    one, other, third = ticket(key=1), ticket(key=2), ticket(key=1)
    for each in (one, other, third):
        line.add(each)
    assert line.head() is one
    assert line.take(one.key, 8) == [one, third]
    assert line.head() is other


def test_a_request_larger_than_a_batch_is_taken_alone() -> None:
    line = WaitingLine()
    large = ticket(rows=9)
    line.add(large)
    line.add(ticket())
    assert line.take(large.key, 4) == [large]


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(0, 2), st.integers(1, 3), st.booleans()),
        max_size=30,
    ),
    st.sets(st.integers(0, 29)),
    st.integers(1, 8),
)
def test_counts_are_those_of_what_waits(
    added: list[tuple[int, int, int, bool]], leaving: set[int], most: int
) -> None:
    line = WaitingLine()
    tickets = [ticket(r, k, p, 1.0 if d else None) for r, k, p, d in added]
    for each in tickets:
        line.add(each)
    gone = line.remove(lambda one: tickets.index(one) in leaving)
    assert {tickets.index(one) for one in gone} == {i for i in leaving if i < len(tickets)}
    left = [one for one in tickets if one not in gone]
    while line:
        assert line.requests == len(left)
        assert line.rows == sum(one.rows for one in left)
        assert line.deadlines == sum(one.request.deadline is not None for one in left)
        head = line.head()
        assert head.request.priority == min(one.request.priority for one in left)
        assert line.rows_with(head.key) == sum(one.rows for one in left if one.key == head.key)
        taken = line.take(head.key, most)
        assert taken[0] is head
        assert len(taken) == 1 or sum(one.rows for one in taken) <= most
        left = [one for one in left if one not in taken]
    assert not left
