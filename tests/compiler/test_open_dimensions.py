"""Open dimensions get symbols, and given shapes bind them."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from ingot.compiler.ingest import ingest
from ingot.compiler.open_dimensions import bind_shapes, name_open_dimensions
from ingot.errors import UsageError
from tests.graphs import parse

TWO_INPUTS = """<ir_version: 10, opset_import: ["" : 20]>
two (float[N, S, 4] a, float[N, S] b) => (float[N, S, 4] y) {
  axes = Constant<value = int64[1] {2}>()
  c = Unsqueeze(b, axes)
  y = Mul(a, c)
}"""


def relu(*shape: int | str | None) -> ir.Model:
    """A model of one node whose input, inner value and output all have this shape."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xty"]
    nodes = [helper.make_node("Neg", ["x"], ["t"]), helper.make_node("Relu", ["t"], ["y"])]
    graph = helper.make_graph(nodes, "g", values[:1], values[2:], value_info=values[1:2])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.from_proto(model)


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        ((-1, 8), ["x_0", 8]),
        ((None, 8), ["x_0", 8]),
        ((1, 3, "?", "?"), [1, 3, "x_2", "x_3"]),
        (("", "None", "-1"), ["x_0", "x_1", "x_2"]),
        (("N", "N", "x_2", None), ["N", "N", "x_2", "x_3"]),
        (("x_1", -1), ["x_1", "x_1_"]),
        ((0, 4), [0, 4]),
    ],
)
def test_each_dimension_without_a_size_or_a_name_gets_a_symbol_of_its_own(
    shape: tuple[int | str | None, ...], named: list[int | str]
) -> None:
    graph = ingest(relu(*shape)).model.graph if 0 not in shape else relu(*shape).graph
    for value in (graph.inputs[0], graph.outputs[0]):
        assert [d if isinstance(d, int) else d.value for d in value.shape] == named


def test_a_placeholder_is_no_name_inside_of_the_graph_either() -> None:
    model = relu("?", "?")
    name_open_dimensions(model)
    assert [dim.value for dim in model.graph.node(0).outputs[0].shape] == [None, None]


@pytest.mark.parametrize("shape", [(-1, 8), ("?", "?")])
def test_what_was_no_name_can_be_bound(shape: tuple[int | str, ...]) -> None:
    assert str(ingest(relu(*shape), shapes={"x": (5, 8)}).model.graph.outputs[0].shape) == "[5,8]"


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"c": (1,)}, "--shape c: the model has no such input; its inputs are a, b"),
        ({"a": (1, 2)}, r"--shape a: the input has 3 dimensions: \[N,S,4\]"),
        ({"a": (1, 2, 5)}, r"--shape a: dimension 4 is 4, not 5"),
        ({"a": (0, 2, 4)}, r"--shape a: dimensions must be positive, not \[0, 2, 4\]"),
        ({"a": (1, 2, 4), "b": (1, 3)}, r"--shape b: dimension S is 2, not 3"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        bind_shapes(parse(TWO_INPUTS), shapes)
