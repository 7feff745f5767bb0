"""What the runtime records of itself: loading, inferences and their stages, kernels, regions."""

from __future__ import annotations

import json
import queue
import threading
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ingot import profiling
from ingot.compiler.build import Artifact, compile_model
from ingot.errors import InputError
from ingot.runtime import Session

SCHEMA = Path(__file__).resolve().parents[3] / "docs/trace.schema.json"


@pytest.fixture(scope="module")
def fixed_artifact(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The small network for a batch of two, whose kernels' costs are known."""
    folder = tmp_path_factory.mktemp("fixed")
    return compile_model(small_model, folder / "fixed.ingot", shapes={"image": (2, 3, 16, 16)})


@pytest.fixture(scope="module")
def with_region(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Code, and a loop that ONNX Runtime runs."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["again"]),
            helper.make_node("Add", ["h", "h"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [2, 64]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 64]),
        ],
    )
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"], "product"),
            helper.make_node("Relu", ["m"], ["r"], "relu"),
            helper.make_node("Loop", ["count", "yes", "r"], ["l"], "loop", body=body),
            helper.make_node("MatMul", ["l", "w"], ["y"], "last"),
        ],
        "looped",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 64]),
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 64])],
        [
            onnx.numpy_helper.from_array(weights, "w"),
            onnx.numpy_helper.from_array(np.array(True), "yes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    folder = tmp_path_factory.mktemp("region")
    return compile_model(model, folder / "looped.ingot")


def named(trace: profiling.Trace, name: str) -> list[profiling.Event]:
    return [event for event in trace.events if event.name == name]


def within(inner: profiling.Event, outer: profiling.Event) -> bool:
    same = inner.thread == outer.thread
    return same and outer.start_ns <= inner.start_ns and inner.end_ns <= outer.end_ns


def test_loading_and_inferences_are_recorded_and_nothing_else_changes(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    with small_artifact.session(threads=1) as session:
        expected = session.run(image)["logits"]
    with profiling.start("one") as recorded, small_artifact.session(threads=2) as session:
        for _ in range(3):
            np.testing.assert_array_equal(session.run(image)["logits"], expected)
    trace = recorded.trace()
    (load,) = named(trace, "load")
    name = small_artifact.manifest.name
    assert load.args == {"artifact": name, "threads": 2}
    runs = named(trace, "run")
    assert [run.request for run in runs] == ["run-1", "run-2", "run-3"]
    assert all(run.start_ns >= load.end_ns and run.args == {"artifact": name} for run in runs)
    for run in runs:
        stages = [e for e in trace.of_request(str(run.request)) if e is not run]
        assert [stage.name for stage in stages] == ["bind", "queue", "execute", "return"]
        assert all(within(stage, run) and stage.source == "session" for stage in stages)
    assert {event.source for event in trace.events} == {"session"}


def test_kernels_are_recorded_within_the_execution_with_what_they_cost(
    fixed_artifact: Artifact, image: np.ndarray
) -> None:
    with fixed_artifact.session(threads=1) as session:
        expected = session.run(image)["logits"]
        with profiling.start("kernels", kernels=True) as recorded:
            np.testing.assert_array_equal(session.run(image)["logits"], expected)
    trace = recorded.trace()
    (execute,) = named(trace, "execute")
    kernels = [event for event in trace.events if event.source == "kernel"]
    costs = fixed_artifact.manifest.kernels
    assert {kernel.name for kernel in kernels} == set(costs)
    assert len(kernels) == sum(cost.calls for cost in costs.values())
    for kernel in kernels:
        cost = costs[kernel.name]
        assert within(kernel, execute)
        assert kernel.request == execute.request
        assert kernel.args == {
            "artifact": fixed_artifact.manifest.name,
            "operators": cost.operators,
            "operations": cost.operations,
            "bytes": cost.bytes,
        }
    assert trace.machine["threads"] == "1"


def test_bound_runs_are_recorded_too(fixed_artifact: Artifact, image: np.ndarray) -> None:
    with fixed_artifact.session(threads=1) as session:
        bound = session.bind()
        bound.inputs["image"][...] = image
        with profiling.start("bound", kernels=True) as recorded:
            bound.run()
        expected = bound.outputs["logits"].copy()
        np.testing.assert_array_equal(session.run(image)["logits"], expected)
    trace = recorded.trace()
    assert [e.name for e in trace.events if e.source == "session"] == ["run", "execute", "return"]
    assert {e.name for e in trace.events if e.source == "kernel"} == set(
        fixed_artifact.manifest.kernels
    )


def test_a_region_is_an_event_of_the_inference_that_it_is_part_of(with_region: Artifact) -> None:
    inputs = {"x": np.ones((2, 64), np.float32), "count": np.array(3)}
    (region,) = with_region.manifest.regions
    with with_region.session(threads=1) as session:
        expected = session.run(inputs)["y"]
        with profiling.start("region", kernels=True) as recorded:
            np.testing.assert_array_equal(session.run(inputs)["y"], expected)
    trace = recorded.trace()
    (event,) = (event for event in trace.events if event.source == "region")
    assert (event.name, event.args) == (region, {"executor": "onnxruntime"})
    (execute,) = named(trace, "execute")
    assert within(event, execute)
    assert event.request == execute.request == "run-1"
    kernels = [event for event in trace.events if event.source == "kernel"]
    assert {kernel.name for kernel in kernels} <= set(with_region.manifest.kernels)
    assert kernels


def test_an_inference_that_fails_says_so(small_artifact: Artifact) -> None:
    with small_artifact.session(threads=1) as session, profiling.start("one") as recorded:
        with pytest.raises(InputError):
            session.run({"image": np.zeros((1, 3, 16, 15), np.float32)})
        with pytest.raises(InputError):
            session.run({"picture": np.zeros(3)})
    assert [event.args["error"] for event in named(recorded.trace(), "run")] == ["InputError"] * 2


def test_requests_go_from_a_client_through_a_queue_to_the_inference(
    small_artifact: Artifact, image: np.ndarray, tmp_path: Path
) -> None:
    jobs: queue.Queue[tuple[profiling.Request, np.ndarray] | None] = queue.Queue()

    def serve(session: Session) -> None:
        while (job := jobs.get()) is not None:
            request, given = job
            with request.attach("serve"):
                session.run(given)

    with small_artifact.session(threads=1) as session, profiling.start("serving") as recorded:
        workers = [threading.Thread(target=serve, args=(session,)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for index in range(6):
            with profiling.request(f"r{index}", name="receive") as request:
                jobs.put((request, image))
        for _ in workers:
            jobs.put(None)
        for worker in workers:
            worker.join()
    path = recorded.save(tmp_path / "serving.json")
    jsonschema.validate(json.loads(path.read_text()), json.loads(SCHEMA.read_text()))
    trace = profiling.read_trace(path)
    assert sorted(trace.requests) == [f"r{index}" for index in range(6)]
    for request_id in trace.requests:
        events = {event.name: event for event in trace.of_request(request_id)}
        assert set(events) == {"receive", "serve", "run", "bind", "queue", "execute", "return"}
        assert within(events["run"], events["serve"])
        steps = [step.thread for step in trace.steps if step.request == request_id]
        assert steps == [events["receive"].thread, events["serve"].thread]


def test_sources_leave_out_what_the_runtime_records(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    with (
        profiling.start("mine", only=["user"]) as recorded,
        small_artifact.session(threads=1) as session,
        profiling.event("all of it"),
    ):
        session.run(image)
    assert [event.name for event in recorded.trace().events] == ["all of it"]
