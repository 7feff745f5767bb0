"""Events, marks and counters say what they were given; traced functions are as they were."""

from __future__ import annotations

import asyncio
import inspect
import math
from typing import Any

import numpy as np
import pytest

from ingot import profiling
from ingot.errors import UsageError


@profiling.traced
def double(value: int) -> int:
    """Doubles."""
    return 2 * value


@profiling.traced("half of it", exact=False)
async def half(value: float) -> float:
    await asyncio.sleep(0)
    return value / 2


@profiling.traced
def failing() -> None:
    raise KeyError("nothing")


def test_a_traced_function_is_as_it_was() -> None:
    assert (double.__name__, double.__doc__) == ("double", "Doubles.")
    assert inspect.iscoroutinefunction(half)
    assert double(3) == 6
    assert asyncio.run(half(3)) == 1.5


def test_each_call_of_a_traced_function_is_an_event() -> None:
    with profiling.start("calls") as session:
        assert [double(1), double(2)] == [2, 4]
        assert asyncio.run(half(3)) == 1.5
        with pytest.raises(KeyError):
            failing()
    assert [(event.name, event.args) for event in session.trace().events] == [
        ("double", {}),
        ("double", {}),
        ("half of it", {"exact": False}),
        ("failing", {"error": "KeyError"}),
    ]


def test_a_generator_cannot_be_traced() -> None:
    def items() -> Any:
        yield 1

    async def later() -> Any:
        yield 1

    for function in (items, later):
        with pytest.raises(UsageError, match="is a generator, of which a call runs nothing"):
            profiling.traced(function)


@pytest.mark.parametrize(
    ("given", "stated"),
    [
        ("text", "text"),
        (1, 1),
        (True, True),
        (None, None),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.zeros(2), "[0. 0.]"),
        ((1, 2), "(1, 2)"),
    ],
)
def test_arguments_are_stated_as_text_or_numbers(given: object, stated: object) -> None:
    with profiling.start("arguments") as session:
        with profiling.event("event", value=given):
            pass
        profiling.mark("mark", value=given)
        with profiling.request("r", value=given):
            pass
    trace = session.trace()
    for entry in (*trace.events, *trace.marks):
        assert entry.args == {"value": stated}
        assert type(entry.args["value"]) is type(stated)


def test_counters_hold_numbers_by_series() -> None:
    with profiling.start("counters") as session:
        profiling.counter("queue", waiting=3, running=np.int64(1))
        profiling.metric("accuracy", np.float32(0.5))
        profiling.metric("loss", math.inf)
    assert [(c.source, c.name, c.values) for c in session.trace().counters] == [
        ("user", "queue", {"waiting": 3, "running": 1}),
        ("metric", "accuracy", {"value": 0.5}),
        ("metric", "loss", {"value": math.inf}),
    ]


def test_what_is_no_number_counts_nothing() -> None:
    with (
        profiling.start("counters"),
        pytest.raises(UsageError, match="counter queue has a value that is no number: waiting='a'"),
    ):
        profiling.counter("queue", waiting="a")  # type: ignore[arg-type]


def test_where_nothing_records_nothing_is_looked_at() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise AssertionError("looked at")

    with profiling.event("event", value=Unprintable()) as event:
        event.note(more=Unprintable())
    profiling.mark("mark", value=Unprintable())
    profiling.counter("counter", value=Unprintable())  # type: ignore[arg-type]
