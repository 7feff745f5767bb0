"""A request's events have its id on every thread, and steps lead from one to the next."""

from __future__ import annotations

import asyncio
import queue
import threading

import pytest

from ingot import profiling
from ingot.runtime.profiling import recording


def serve(requests: queue.Queue[profiling.Request | None]) -> None:
    while (request := requests.get()) is not None:
        with request.attach("serve"), profiling.event("answer"):
            assert profiling.current_request() == request.id
        profiling.mark("between")


@pytest.mark.parametrize("scoped", [False, True])
def test_a_request_goes_through_a_queue_to_another_thread(scoped: bool) -> None:
    requests: queue.Queue[profiling.Request | None] = queue.Queue()
    thread = threading.Thread(target=serve, args=(requests,), name="server")
    with profiling.start("serving", scoped=scoped) as session:
        thread.start()
        for name in ("a", "b"):
            with profiling.request(name, name="receive", size=1) as request:
                assert profiling.current_request() == name
                requests.put(request)
        requests.put(None)
        thread.join()
    trace = session.trace()
    assert profiling.current_request() is None
    assert trace.requests == ("a", "b")
    for name in trace.requests:
        found = {event.name: event for event in trace.of_request(name)}
        assert set(found) == {"receive", "serve", "answer"}
        assert found["receive"].args == {"size": 1}
        assert {found["serve"].source, found["receive"].source} == {"request"}
        assert trace.threads[found["answer"].thread] == "server"
        steps = [(s.thread, s.at_ns) for s in trace.steps if s.request == name]
        assert steps == [
            (found["receive"].thread, found["receive"].start_ns),
            (found["serve"].thread, found["serve"].start_ns),
        ]
    # Between requests the thread has the context that it was started with.
    assert [mark.request for mark in trace.marks] == ([] if scoped else [None, None])


def test_a_batch_is_a_step_of_each_of_its_requests() -> None:
    with profiling.start("batches") as session:
        handles = []
        for name in ("a", "b"):
            with profiling.request(name) as request:
                handles.append(request)

        def compute() -> None:
            with profiling.event("batch", size=2):
                for handle in handles:
                    handle.step()

        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
    trace = session.trace()
    (batch,) = (event for event in trace.events if event.name == "batch")
    assert batch.request is None
    assert [(step.request, step.thread == batch.thread) for step in trace.steps] == [
        ("a", False),
        ("a", True),
        ("b", False),
        ("b", True),
    ]


def test_a_request_in_one_place_has_no_steps() -> None:
    with profiling.start("one") as session, profiling.request():
        pass
    trace = session.trace()
    assert trace.steps == ()
    assert len(trace.requests) == 1


def test_requests_without_a_name_differ() -> None:
    with profiling.start("one"):
        with profiling.request() as first:
            pass
        with profiling.request() as second:
            pass
    assert first.id != second.id


def test_an_exception_is_stated_and_ends_the_request() -> None:
    with profiling.start("one") as session:
        with pytest.raises(ValueError), profiling.request("bad"):
            raise ValueError
        assert profiling.current_request() is None
    assert session.trace().events[0].args == {"error": "ValueError"}


def test_handles_work_where_nothing_records() -> None:
    with profiling.request("a") as request:
        assert profiling.current_request() is None
        with request.attach():
            request.step()
    with profiling.start("one") as session, profiling.request("b") as late:
        pass
    with late.attach() as same:
        assert same.id == ""
        late.step()
    assert len(session.trace().events) == 1
    profiling.sources()["request"].enabled = False
    try:
        with profiling.start("two") as session, profiling.request("c"), profiling.event("work"):
            pass
    finally:
        profiling.sources()["request"].enabled = True
    assert [(event.name, event.request) for event in session.trace().events] == [("work", None)]
    assert not recording.on


def test_tasks_of_a_loop_lie_side_by_side() -> None:
    ready = asyncio.Event

    async def handle(name: str, mine: asyncio.Event, others: asyncio.Event) -> None:
        with profiling.request(name), profiling.event(f"work {name}"):
            others.set()
            await mine.wait()
            with profiling.event(f"answer {name}"):
                pass

    async def both() -> None:
        first, second = ready(), ready()
        await asyncio.gather(handle("a", first, second), handle("b", second, first))

    with profiling.start("tasks") as session:
        asyncio.run(both())
    trace = session.trace()
    lanes = {name: {event.thread for event in trace.of_request(name)} for name in ("a", "b")}
    assert all(len(threads) == 1 for threads in lanes.values())
    assert lanes["a"] != lanes["b"]
    (main,) = lanes["a"]
    (beside,) = lanes["b"]
    assert trace.threads[beside] == f"{trace.threads[main]} (2)"
