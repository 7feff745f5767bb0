"""Which session records what: everywhere or in a context, by source, from start to stop."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from ingot import profiling
from ingot.errors import UsageError
from ingot.runtime.profiling import event_sources, recording


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves a session behind."""
    yield
    assert not recording.on
    assert profiling.current() is None


def names(trace: profiling.Trace) -> list[str]:
    return [event.name for event in trace.events]


def in_thread(function: Callable[[], object], *, name: str = "worker") -> None:
    thread = threading.Thread(target=function, name=name)
    thread.start()
    thread.join()


def record(name: str) -> Callable[[], None]:
    def run() -> None:
        with profiling.event(name):
            pass

    return run


def test_an_event_has_its_time_thread_and_arguments() -> None:
    with profiling.start("one") as session, profiling.event("outer", size=3) as outer:
        with profiling.event("inner"):
            pass
        outer.note(done=True)
    outer_event, inner = session.trace().events
    assert (outer_event.source, outer_event.name) == ("user", "outer")
    assert outer_event.args == {"size": 3, "done": True}
    assert outer_event.request is None
    assert 0 <= outer_event.start_ns <= inner.start_ns <= inner.end_ns <= outer_event.end_ns
    assert outer_event.thread == inner.thread == threading.get_native_id()
    assert session.trace().threads[inner.thread] == threading.current_thread().name


def test_nothing_is_recorded_before_or_after() -> None:
    record("before")()
    with profiling.start("one") as session:
        record("within")()
    record("after")()
    assert names(session.trace()) == ["within"]
    assert session.stop() is session.trace()
    assert not session.active


def test_a_trace_of_a_running_session_has_what_there_is() -> None:
    with profiling.start("one") as session:
        record("first")()
        assert names(session.trace()) == ["first"]
        record("second")()
    assert names(session.trace()) == ["first", "second"]


def test_what_still_runs_at_the_end_is_not_recorded() -> None:
    session = profiling.start("one")
    with profiling.event("late"):
        trace = session.stop()
    assert trace.events == ()
    assert session.trace() is trace


def test_a_session_everywhere_records_all_threads() -> None:
    with profiling.start("all") as session:
        record("here")()
        in_thread(record("there"), name="other")
    trace = session.trace()
    by_name = {event.name: trace.threads[event.thread] for event in trace.events}
    assert by_name == {"here": threading.current_thread().name, "there": "other"}


def test_only_one_session_records_everywhere() -> None:
    with (
        profiling.start("first"),
        pytest.raises(UsageError, match="'first' records everywhere already: stop it first"),
    ):
        profiling.start("second")
    profiling.start("third").stop()


def test_a_scoped_session_records_its_context_alone() -> None:
    with profiling.start("scoped", scoped=True) as session:
        record("here")()
        in_thread(record("elsewhere"))
        in_thread(lambda: None)
        context = contextvars.copy_context()
        in_thread(lambda: context.run(record("in a copy of the context")))
    assert names(session.trace()) == ["here", "in a copy of the context"]


def test_the_innermost_scoped_session_records_and_the_one_around_it_goes_on() -> None:
    with profiling.start("all") as all_:
        with profiling.start("outer", scoped=True) as outer:
            record("a")()
            with profiling.start("inner", scoped=True) as inner:
                record("b")()
                in_thread(record("thread"))
            record("c")()
        record("d")()
    assert [names(s.trace()) for s in (all_, outer, inner)] == [["thread", "d"], ["a", "c"], ["b"]]


def test_a_scoped_session_may_be_stopped_elsewhere() -> None:
    outer = profiling.start("outer", scoped=True)
    inner = profiling.start("inner", scoped=True)
    in_thread(inner.stop)
    record("after")()
    assert names(outer.stop()) == ["after"]
    assert profiling.current() is None


def test_tasks_have_scoped_sessions_of_their_own() -> None:
    async def task(name: str) -> list[str]:
        with profiling.start(name, scoped=True) as session:
            for index in range(3):
                with profiling.event(f"{name}{index}"):
                    await asyncio.sleep(0)
        return names(session.trace())

    async def both() -> list[list[str]]:
        return await asyncio.gather(task("a"), task("b"))

    assert asyncio.run(both()) == [["a0", "a1", "a2"], ["b0", "b1", "b2"]]


def test_a_session_records_the_sources_that_it_names() -> None:
    with profiling.start("metrics", only=["metric"]) as session:
        record("left out")()
        profiling.metric("kept", 1)
        profiling.counter("left out", value=1)
    trace = session.trace()
    assert trace.events == ()
    assert [(c.source, c.name) for c in trace.counters] == [("metric", "kept")]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"only": ["kernel", "sesion"]},
            "no source of events is called 'sesion'; there are kernel",
        ),
        ({"only": "usr"}, "called 'usr'"),
        ({"limit": 0}, "a limit of 0 entries keeps nothing: give 1 or more"),
    ],
)
def test_what_cannot_be_recorded_is_refused(given: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        profiling.start("wrong", **given)  # type: ignore[arg-type]


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> profiling.Source:
    """A source of this test's own."""
    monkeypatch.setattr(event_sources, "_registered", dict(event_sources._registered))
    monkeypatch.setattr(recording, "_off", set())
    return profiling.register_source("loader", "reading samples")


def test_sources_are_switched_by_name(source: profiling.Source) -> None:
    assert profiling.sources()["loader"] is source
    with profiling.start("one") as session:
        with source.event("read"):
            pass
        assert source.enabled
        profiling.sources()["loader"].enabled = False
        assert not source.enabled
        with source.event("not read"):
            source.mark("nor marked")
            source.counter("nor counted", value=1)
        record("user")()
    trace = session.trace()
    assert [(event.source, event.name) for event in trace.events] == [
        ("loader", "read"),
        ("user", "user"),
    ]
    assert trace.marks == trace.counters == ()


def test_a_source_is_registered_once(source: profiling.Source) -> None:
    with pytest.raises(UsageError, match="'loader' already"):
        profiling.register_source("loader")
    with pytest.raises(UsageError, match="needs a name"):
        profiling.register_source("")
    with profiling.start("one", only=["loader"]):
        pass


def test_a_source_is_told_when_sessions_begin_and_end(source: profiling.Source) -> None:
    source.on_start = lambda session: source.mark(f"{session.name} began")
    source.on_stop = lambda session: source.mark(f"{session.name} ends")
    with profiling.start("one") as session:
        pass
    assert [mark.name for mark in session.trace().marks] == ["one began", "one ends"]
    with profiling.start("two", only=["user"]) as session:
        pass
    assert session.trace().marks == ()


def test_a_source_that_fails_ends_the_session(source: profiling.Source) -> None:
    def fail(session: profiling.ProfilingSession) -> None:
        raise OSError("no sensor")

    source.on_start = fail
    with pytest.raises(OSError, match="no sensor"):
        profiling.start("one")
    source.on_start, source.on_stop = None, fail
    session = profiling.start("two")
    with pytest.raises(OSError, match="no sensor"):
        session.stop()
    assert not session.active


def test_times_from_elsewhere_are_taken_as_they_are() -> None:
    with profiling.start("one") as session:
        start = session.start_ns
        profiling.sources()["user"].record("sensor", start - 5, start + 7, unit="ns")
    (event,) = session.trace().events
    assert (event.start_ns, event.end_ns, event.args) == (-5, 7, {"unit": "ns"})


def test_a_forked_child_records_nothing() -> None:
    with profiling.start("parent") as session:
        record("before")()
        child = os.fork()
        if child == 0:
            record("in the child")()
            wrong = recording.on or profiling.current() is not None or session.active
            with profiling.start("of the child") as own:
                record("own")()
            os._exit(int(wrong or names(own.trace()) != ["own"]))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        record("after")()
    assert names(session.trace()) == ["before", "after"]
