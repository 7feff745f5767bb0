"""Halving finds the pass that turns a good model into a bad one."""

import math

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ir.passes.common import ShapeInferencePass

from ingot.compiler.bisect import BisectReport, bisect
from ingot.compiler.inputs import random_inputs
from ingot.compiler.verification import ReferenceCheck
from ingot.errors import UsageError, VerificationError
from ingot.passes.base import EXACT, LOSSY, IngotPass, PassOptions, PassOutcome
from ingot.passes.cleanup import PASSES as CLEANUP
from ingot.passes.manager import PassManager
from ingot.passes.record import PassCheckError
from ingot.passes.registry import PassSpec, Registry
from ingot.reference.session import Reference
from tests.graphs import parse

TEXT = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 4] x) => (float[N, 3] scores)
<float[4] one = {1, 1, 1, 1}, float[4] shift = {1, 2, 3, 4},
 float[4, 3] w = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}> {
 [scale] a = Mul(x, one)
 [shift] b = Add(a, shift)
 [unshift] c = Sub(b, shift)
 [activate] d = Relu(c)
 [same] e = Identity(d)
 [project] scores = MatMul(e, w)
}"""


class BrokenPass(IngotPass[PassOptions]):
    """Means to drop a ReLU, and forgets that negative values pass now."""

    name = "acme.drop-relu"
    summary = "Replaces Relu by Abs."
    tolerance = EXACT

    def call(self, model):
        changed = [node for node in model.graph if node.op_type == "Relu"]
        for node in changed:
            node.op_type = "Abs"
        return PassOutcome(model, bool(changed), len(changed))


class EntryPoint:
    """What a broken package would bring."""

    name = "acme"
    value = "acme.passes:PASSES"

    def load(self):
        return (BrokenPass,)


@pytest.fixture
def model():
    return parse(TEXT)


@pytest.fixture
def pipeline():
    """Eight passes, the sixth of them broken, made as a recipe makes them."""
    registry = Registry(entry_points=[EntryPoint()])
    names = ["cleanup", "acme.drop-relu", "cleanup.dead-code", "cleanup.identities"]
    passes = [made for name in names for made in registry.create(PassSpec(name=name))]
    assert [type(made) for made in passes][:6] == [*CLEANUP, BrokenPass]
    return passes


@pytest.fixture
def inputs(model):
    return [random_inputs(model)]


@pytest.fixture
def accuracy(inputs):
    """The share of examples whose highest score is where the original model has it."""
    generator = np.random.default_rng(7)
    x = {"x": generator.standard_normal((200, 4)).astype(np.float32)}
    wanted = np.maximum(x["x"], 0)[:, :3].argmax(axis=1)

    def measure(candidate):
        reference = Reference(candidate)
        return float((reference.run(x)["scores"].argmax(axis=1) == wanted).mean())

    return measure


def test_managers_check_names_the_broken_pass_and_the_first_tensor(model, pipeline, inputs):
    with pytest.raises(PassCheckError) as caught:
        PassManager(pipeline, check=ReferenceCheck(inputs)).run(model)
    assert caught.value.pass_name == "acme.drop-relu"
    assert caught.value.first.tensor == "d"


def assert_blames_the_broken_pass(report):
    assert (report.guilty, report.index) == ("acme.drop-relu", 5)
    assert report.first_tensor is not None
    assert report.first_tensor.name == "d"
    assert report.first_tensor.max_abs_error > 0.1
    (node,) = report.nodes
    assert (node.change, node.name, node.operator) == ("changed", "activate", "Relu → Abs")
    assert (node.inputs, node.outputs) == (["c"], ["d"])
    assert report.evaluations == len(report.steps) <= 2 + math.ceil(math.log2(8))


def test_by_tolerance(model, pipeline, inputs):
    report = bisect(model, pipeline, inputs=inputs)
    assert_blames_the_broken_pass(report)
    assert [(step.passes, step.good) for step in report.steps] == [
        (0, True), (8, False), (4, True), (6, False), (5, True),
    ]  # fmt: skip
    assert "tensor 'scores' differs by" in report.steps[1].detail


class Rounding(BrokenPass):
    """Is lossy by intent: rounds what goes into the product."""

    name = "acme.rounding"
    tolerance = LOSSY

    def call(self, model):
        project = next(node for node in model.graph if node.op_type == "MatMul")
        rounded = ir.node("Round", [project.inputs[0]], name="rounded")
        rounded.outputs[0].name = "r"
        model.graph.insert_before(project, rounded)
        project.replace_input_with(0, rounded.outputs[0])
        return PassOutcome(model, True, 1)


@pytest.mark.parametrize("broken_at", [1, 3, 4])
def test_lossy_passes_are_held_to_what_they_declare(model, inputs, broken_at):
    fine = ShapeInferencePass
    passes = [fine(), fine(), Rounding(), fine(), fine()]
    report = bisect(model, passes, inputs=inputs)
    assert report.guilty is None
    assert report.criterion.endswith("of lossy passes finite ones")
    assert bisect(model, passes, inputs=inputs, strict=True).guilty == "acme.rounding"
    passes[broken_at] = BrokenPass()
    assert bisect(model, passes, inputs=inputs).index == broken_at


def test_a_lossy_pass_that_loses_numbers_is_guilty(model, inputs):
    class Dividing(Rounding):
        def call(self, model):
            model.graph.initializers["w"].const_value = ir.tensor(
                np.full((4, 3), np.inf, np.float32), name="w"
            )
            return PassOutcome(model, True, 1)

    fine = ShapeInferencePass
    report = bisect(model, [fine(), Rounding(), Dividing(), fine()], inputs=inputs)
    assert (report.guilty, report.index) == ("acme.rounding", 2)


def test_by_accuracy(model, pipeline, inputs, accuracy):
    report = bisect(model, pipeline, inputs=inputs, accuracy=accuracy, floor=0.99)
    assert_blames_the_broken_pass(report)
    assert report.criterion == "accuracy of at least 0.99"
    assert report.steps[0].measured == 1.0
    assert report.steps[1].measured < 0.9
    assert "is below 0.99" in report.steps[1].detail


def test_input_model_is_not_changed(model, pipeline, inputs):
    before = ir.to_proto(model).SerializeToString()
    bisect(model, pipeline, inputs=inputs)
    assert ir.to_proto(model).SerializeToString() == before


def test_nothing_breaks(model, inputs):
    report = bisect(model, [cls() for cls in CLEANUP], inputs=inputs)
    assert (report.guilty, report.index, report.nodes) == (None, None, [])
    assert [(step.passes, step.good) for step in report.steps] == [(0, True), (5, True)]


def test_no_passes(model, inputs):
    assert bisect(model, [], inputs=inputs).evaluations == 1


def test_steps_are_told_as_they_happen(model, pipeline, inputs):
    seen = []
    report = bisect(model, pipeline, inputs=inputs, on_step=seen.append)
    assert seen == report.steps


def test_pass_that_raises_or_leaves_an_invalid_graph_is_guilty(model, inputs):
    class Raising(BrokenPass):
        def call(self, model):
            raise RuntimeError("no memory")

    class Cutting(BrokenPass):
        def call(self, model):
            model.graph.node(1).replace_input_with(0, ir.Value(name="ghost"))
            return PassOutcome(model, True)

    fine = [ShapeInferencePass(), ShapeInferencePass(), ShapeInferencePass()]
    for cls, reason in ((Raising, "RuntimeError: no memory"), (Cutting, "reads 'ghost'")):
        report = bisect(model, [*fine, cls(), *fine], inputs=inputs)
        assert (report.guilty, report.index) == ("acme.drop-relu", 3)
        assert reason in report.failure
        assert report.steps[1].measured is None


def test_models_before_and_after_the_guilty_pass_are_dumped(model, pipeline, inputs, tmp_path):
    bisect(model, pipeline, inputs=inputs, dump_dir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "00-input.onnx",
        "01-acme.drop-relu.onnx",
    ]


def test_model_that_is_bad_from_the_start_blames_no_pass(model, pipeline, inputs):
    with pytest.raises(VerificationError, match=r"bad before any pass runs .*below 2"):
        bisect(model, pipeline, inputs=inputs, accuracy=lambda candidate: 1.0, floor=2.0)


def test_accuracy_that_is_no_number_is_bad(model, inputs):
    readings = iter([1.0, math.nan])
    report = bisect(
        model, [CLEANUP[0]()], inputs=inputs, accuracy=lambda candidate: next(readings), floor=0.5
    )
    assert report.guilty == "cleanup.identities"


def test_measure_and_floor_go_together(model, inputs):
    with pytest.raises(UsageError, match="both the measure and the floor"):
        bisect(model, [], inputs=inputs, floor=1.0)
    with pytest.raises(UsageError, match="at least one set of inputs"):
        bisect(model, [], inputs=[])


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 40), data=st.data())
def test_first_bad_prefix_is_found_in_logarithmic_time(count, data):
    guilty = data.draw(st.integers(0, count - 1))
    model = parse(TEXT)
    model.metadata_props["passes"] = "0"

    class Counting(IngotPass[PassOptions]):
        name = "test.count"
        summary = "Counts."

        def call(self, model):
            model.metadata_props["passes"] = str(int(model.metadata_props["passes"]) + 1)
            return PassOutcome(model, False)

    report = bisect(
        model,
        [Counting() for _ in range(count)],
        inputs=[],
        accuracy=lambda candidate: -int(candidate.metadata_props["passes"]),
        floor=-guilty,
    )
    assert report.index == guilty
    assert report.evaluations <= 2 + math.ceil(math.log2(count))


def test_report_survives_json(model, pipeline, inputs):
    report = bisect(model, pipeline, inputs=inputs)
    assert BisectReport.model_validate_json(report.model_dump_json()) == report
