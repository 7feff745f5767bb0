"""An inference is one entry when it is recorded, and its stages and kernels when it is read."""

from __future__ import annotations

import time

import numpy as np

from ingot import profiling
from ingot.runtime.manifest import KernelCost
from ingot.runtime.profiling import inferences
from ingot.runtime.profiling.inferences import ModelFacts

FACTS = ModelFacts("net", 2, {"conv": KernelCost("Conv", 8, None, 1)})


def run(session: profiling.ProfilingSession, begin: int) -> str | int:
    start = session.start_ns + begin
    times = start, start + 10, start + 30, start + 900
    return inferences.record_inference(session, FACTS, *times)


def test_an_inference_is_its_stages() -> None:
    with profiling.start("one") as session:
        assert inferences.recording_inferences() is session
        run(session, 1000)
    trace = session.trace()
    whole, bind, queue, execute, copy = trace.events
    assert (whole.name, whole.args, whole.start_ns) == ("run", {"artifact": "net"}, 1000)
    assert [e.name for e in (bind, queue, execute, copy)] == ["bind", "queue", "execute", "return"]
    assert [e.start_ns for e in (bind, queue, execute, copy)] == [1000, 1010, 1030, 1900]
    assert bind.end_ns == queue.start_ns
    assert copy.end_ns == whole.end_ns
    assert {e.source for e in trace.events} == {"session"}
    assert trace.requests == ("run-1",)


def test_what_runs_within_an_inference_belongs_to_its_request() -> None:
    with profiling.start("one", kernels=True) as session:
        with profiling.event("before"):
            pass
        start = time.perf_counter_ns()
        profiling.sources()["region"].record("part", start + 40, start + 50)
        number = run(session, start - session.start_ns)
        inferences.record_kernels(
            session,
            FACTS,
            ["add", "conv", "ingot.region.part"],
            np.array(
                [(2, start, start + 9), (1, start + 60, start + 70), (0, start + 70, start + 75)]
            ),
            number,
        )
        with profiling.request("mine"):
            assert run(session, 10**9) == "mine"
    trace = session.trace()
    found = {event.name: event for event in trace.of_request("run-1")}
    assert set(found) == {"run", "bind", "queue", "execute", "return", "part", "conv", "add"}
    assert found["conv"].args == {"artifact": "net", "operators": "Conv", "operations": 8}
    assert (found["conv"].source, found["conv"].duration_ns) == ("kernel", 10)
    assert found["add"].args == {"artifact": "net"}
    assert trace.machine["threads"] == "2"
    assert {e.name for e in trace.of_request("mine")} >= {"run", "request"}
    assert trace.of_request("run-2") == ()


def test_kernels_are_recorded_on_request_alone() -> None:
    with profiling.start("one") as session:
        number = run(session, 0)
        inferences.record_kernels(session, FACTS, ["a"], np.array([(0, 1, 2)]), number)
        assert not session.kernels
    assert all(event.source == "session" for event in session.trace().events)


def test_sessions_that_leave_inferences_out_take_none() -> None:
    assert inferences.recording_inferences() is None
    with profiling.start("one", only=["user"]):
        assert inferences.recording_inferences() is None
    with profiling.start("two"):
        profiling.sources()["session"].enabled = False
        try:
            assert inferences.recording_inferences() is None
        finally:
            profiling.sources()["session"].enabled = True


def test_what_is_lost_is_told() -> None:
    rows = np.array([(0, 1, 2), (1, 2, 3)])
    with profiling.start("one", limit=3, kernels=True) as session:
        for begin in range(0, 5000, 1000):
            number = run(session, begin)
            inferences.record_kernels(session, FACTS, ["a", "b"], rows, number)
    trace = session.trace()
    assert [event.request for event in trace.events if event.name == "run"] == [
        "run-3",
        "run-4",
        "run-5",
    ]
    assert trace.dropped == 2 + 8


def test_a_trace_says_what_recording_costs_here() -> None:
    with profiling.start("one") as session:
        pass
    trace = session.trace()
    assert set(trace.costs) == {"event", "inference", "request"}
    assert min(trace.costs.values()) > 0
    assert trace.machine["cpus"].isdigit()
    assert trace.started.endswith("+00:00")


def test_estimates_are_told_apart_from_what_was_measured() -> None:
    with profiling.start("one") as session:
        begin = time.perf_counter_ns() - session.start_ns
        inferences.record_estimate("part", 1e9, 700, [("c", "Conv2D", 300), ("d", "Add", 500)])
        run(session, begin)
        inferences.record_estimate("of no clock", 0.0, 700, [])
    trace = session.trace()
    whole, conv, add = (event for event in trace.events if event.source == "npu")
    assert trace.threads[whole.thread] == "NPU (estimates)"
    assert whole.thread == conv.thread == add.thread != trace.events[0].thread
    assert (whole.name, whole.duration_ns) == ("part", 800)
    assert whole.args == {"estimate": True, "cycles": 700}
    assert (add.name, add.start_ns, add.duration_ns) == ("d", conv.end_ns, 500)
    assert add.args == {"estimate": True, "cycles": 500, "operator": "Add", "region": "part"}
    assert {event.request for event in trace.events} == {"run-1"}


def test_an_inference_that_fails_is_recorded_as_such() -> None:
    with profiling.start("one") as session:
        inferences.record_failure(session, FACTS, session.start_ns, ValueError("no"))
    (event,) = session.trace().events
    assert (event.source, event.name) == ("session", "run")
    assert event.args == {"artifact": "net", "error": "ValueError"}


def test_what_takes_no_time_is_no_stage() -> None:
    with profiling.start("one") as session:
        now = session.start_ns
        inferences.record_inference(session, FACTS, now, now, now, now + 5)
    assert [event.name for event in session.trace().events] == ["run", "execute", "return"]
