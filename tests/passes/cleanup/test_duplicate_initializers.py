"""Equal weights are kept once; what a caller sees or may change is left."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from ingot.passes.cleanup.duplicate_initializers import DuplicateInitializers
from ingot.passes.invariants import check_graph
from tests.graphs import assert_bit_equal, outputs_of, parse, special_inputs


def model_of(body, weights, *, inputs="float[N, 4] x", output="float[N, 4] y"):
    return parse(
        f'<ir_version: 10, opset_import: ["":21]> '
        f"g ({inputs}) => ({output}) <{weights}> {{ {body} }}"
    )


def run(model):
    inputs = special_inputs(model)
    before = outputs_of(model, inputs)
    outcome = DuplicateInitializers()(model)
    check_graph(model)
    assert_bit_equal(before, outputs_of(model, inputs))
    return outcome


def test_equal_weights_become_the_first():
    model = model_of(
        "a = Mul(x, u) b = Mul(a, v) y = Add(b, w)",
        "float[4] u = {1, 2, 3, 4}, float[4] v = {1, 2, 3, 4}, float[4] w = {1, 2, 3, 4}",
    )
    assert run(model).applied == 2
    assert list(model.graph.initializers) == ["u"]
    assert [node.inputs[1].name for node in model.graph] == ["u", "u", "u"]


@pytest.mark.parametrize(
    "weights",
    [
        "float[4] u = {1, 2, 3, 4}, float[4] v = {1, 2, 3, 5}",
        "float[4] u = {1, 2, 3, 4}, float[1, 4] v = {1, 2, 3, 4}",
        "float[4] u = {0, 0, 0, 0}, float[4] v = {0, 0, 0, -0.0}",
    ],
    ids=["values", "shapes", "signs of zero"],
)
def test_different_weights_stay(weights):
    model = model_of("a = Mul(x, u) b = Mul(x, v) y = Div(a, b)", weights)
    assert not run(model).modified
    assert list(model.graph.initializers) == ["u", "v"]


def test_equal_bits_of_another_type_stay():
    model = model_of(
        "f = Cast<to = 1>(v) a = Mul(x, u) y = Mul(a, f)", "float u = {0}, int32 v = {0}"
    )
    assert not run(model).modified


def test_inputs_and_outputs_stay():
    model = model_of(
        "a = Mul(x, u) b = Mul(a, v) y = Mul(b, w)",
        "float u = {2}, float v = {2}, float w = {2}",
        output="float[N, 4] y, float v",
    )
    model.graph.inputs.append(model.graph.initializers["w"])
    assert not DuplicateInitializers()(model).modified


def test_subgraph_reads_the_outer_weight_but_branches_do_not_share():
    model = parse("""<ir_version: 10, opset_import: ["":21]>
        g (float[N, 4] x, bool c) => (float[N, 4] y) <float u = {2}> {
          a = Mul(x, u)
          y = If(c) <
            then_branch = t () => (float[N, 4] p) <float v = {2}, float k = {3}>
              { q = Mul(a, v) p = Add(q, k) },
            else_branch = e () => (float[N, 4] r) <float l = {3}> { r = Add(a, l) }>
        }""")
    assert run(model).applied == 1
    assert [list(graph.initializers) for graph in model.graphs()] == [["u"], ["k"], ["l"]]


def test_only_weights_with_a_twin_in_type_and_shape_are_read(monkeypatch):
    model = model_of(
        "a = Mul(x, u) b = Mul(a, v) y = Mul(b, w)",
        "float[4] u = {1, 2, 3, 4}, float[1] v = {1}, float[1] w = {1}",
    )
    read = []
    for name, value in model.graph.initializers.items():
        tensor = ir.LazyTensor(
            lambda name=name, tensor=value.const_value: read.append(name) or tensor,
            dtype=value.const_value.dtype,
            shape=value.const_value.shape,
            name=name,
        )
        value.const_value = tensor
    DuplicateInitializers()(model)
    assert set(read) == {"v", "w"}


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, 2], ml_dtypes.bfloat16),
        np.array([1, -2, 3], ml_dtypes.int4),
        np.array(["a", "b"], object),
        np.zeros((0, 3), np.float32),
    ],
    ids=["bfloat16", "int4", "string", "empty"],
)
def test_all_types(array):
    def initializer(name):
        tensor = ir.tensor(array.tolist()) if array.dtype == object else ir.tensor(array)
        return ir.Value(
            name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
        )

    left, right = initializer("left"), initializer("right")
    node = ir.node("Pair", [left, right], domain="com.acme", name="pair")
    node.outputs[0].name = "y"
    graph = ir.Graph(
        [], node.outputs, nodes=[node], initializers=[left, right], opset_imports={"com.acme": 1}
    )
    outcome = DuplicateInitializers()(ir.Model(graph, ir_version=10))
    assert outcome.applied == 1
    assert list(graph.initializers) == ["left"]
