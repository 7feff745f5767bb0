"""The numeric check: outputs before and after on ONNX Runtime, and where they first part."""

import numpy as np
import onnx_ir as ir
import pytest

from ingot.compiler.inputs import random_inputs
from ingot.compiler.verification import ReferenceCheck
from ingot.errors import VerificationError
from ingot.passes.base import EXACT, FLOAT_ROUNDING, LOSSY, ToleranceKind
from ingot.passes.record import PassCheckError
from ingot.reference.session import Reference
from tests.graphs import parse

TEXT = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) <float[4] w = {1, 2, 3, 4}> {
 [first] a = Mul(x, w)
 [second] b = Sigmoid(a)
 [third] c = Add(b, w)
 [last] y = Mul(c, b)
 [other] z = Neg(b)
}"""


@pytest.fixture
def before():
    return parse(TEXT)


@pytest.fixture
def after(before):
    return before.clone()


def with_operator(model, name, op_type):
    node = next(node for node in model.graph if node.name == name)
    node.op_type = op_type
    return model


def check(model, **options):
    return ReferenceCheck.for_model(model, **options)


def test_equal_models(before, after):
    result = check(before).compare(before, after, EXACT, pass_name="p")
    assert (result.tolerance, result.max_abs_error, result.worst_tensor) == (
        ToleranceKind.EXACT,
        0.0,
        None,
    )


def test_small_differences_are_measured(before, after):
    weight = np.array([1, 2, 3, 4 * (1 + 2e-6)], np.float32)
    after.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    result = check(before).compare(before, after, FLOAT_ROUNDING, pass_name="p")
    assert 0 < result.max_rel_error < 1e-5
    assert result.worst_tensor in ("y", "z")


@pytest.mark.parametrize(
    ("name", "op_type", "tensor"),
    [("first", "Add", "a"), ("second", "Tanh", "b"), ("third", "Sub", "c"), ("last", "Add", "y")],
)
def test_first_tensor_is_the_first_that_differs(before, after, name, op_type, tensor):
    with_operator(after, name, op_type)
    with pytest.raises(PassCheckError) as caught:
        check(before).compare(before, after, FLOAT_ROUNDING, pass_name="p")
    assert caught.value.first.tensor == tensor
    assert caught.value.pass_name == "p"
    assert "allowed: 2e-05 of the tensor's largest magnitude" in str(caught.value)


def test_tensors_of_one_side_only_are_passed_over(before, after):
    node = with_operator(after, "second", "Tanh").graph.node(1)
    node.outputs[0].name = "renamed"
    with pytest.raises(PassCheckError) as caught:
        check(before).compare(before, after, FLOAT_ROUNDING, pass_name="p")
    assert caught.value.first.tensor == "c"


def test_long_graphs_are_searched_in_parts(before):
    value = before.graph.node(0).outputs[0]
    for index in range(150):
        node = ir.node("Neg", [value], name=f"neg{index}")
        node.outputs[0].name = f"n{index}"
        before.graph.insert_before(before.graph.node(index + 1), node)
        value = node.outputs[0]
    before.graph.node(151).replace_input_with(0, value)
    after = with_operator(before.clone(), "neg140", "Abs")
    with pytest.raises(PassCheckError) as caught:
        check(before).compare(before, after, FLOAT_ROUNDING, pass_name="p")
    assert caught.value.first.tensor == "n140"


def test_every_sample_is_run(before, after):
    """A difference that shows for one value only is found on the sample that has it."""
    for model in (before, after):
        with_operator(model, "second", "Relu")
    with_operator(after, "second", "Abs")
    random = {"x": np.abs(random_inputs(before)["x"])}
    with pytest.raises(PassCheckError):
        ReferenceCheck([random, {"x": -random["x"]}]).compare(before, after, EXACT, pass_name="p")
    ReferenceCheck([random]).compare(before, after, EXACT, pass_name="p")
    sample = {"x": np.full((3, 4), -1, np.float32)}
    check(before, given=[sample]).compare(before, before.clone(), EXACT, pass_name="p")


def test_lossy_is_held_to_finite_outputs(before, after):
    check(before).compare(before, with_operator(after, "last", "Sub"), LOSSY, pass_name="p")
    with_operator(after, "last", "Div")
    after.graph.initializers["w"].const_value = ir.tensor(np.full(4, -1e38, np.float32), name="w")
    with pytest.raises(PassCheckError, match="any difference but infinities and NaN"):
        check(before).compare(before, after, LOSSY, pass_name="p")


def test_each_model_of_a_pipeline_runs_once(before, monkeypatch):
    loaded = []
    original = Reference.__init__

    def counting(self, model, **options):
        loaded.append(model)
        original(self, model, **options)

    monkeypatch.setattr(Reference, "__init__", counting)
    models = [before, before.clone(), before.clone()]
    checking = ReferenceCheck([random_inputs(before)])
    checking.compare(models[0], models[1], EXACT, pass_name="p")
    checking.compare(models[1], models[2], EXACT, pass_name="q")
    assert loaded == models


def test_no_inputs_is_an_error():
    with pytest.raises(VerificationError, match="no reference inputs"):
        ReferenceCheck([])


def test_nothing_out_of_tolerance_has_no_first_difference(before, after):
    with pytest.raises(VerificationError, match="no tensor of the two models"):
        check(before).first_difference(before, after, EXACT)
