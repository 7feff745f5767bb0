"""What a model claims of its tensors is held against the bytes that are there."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.errors import ModelError
from ingot.onnx_graph.claims import check_claims

MANY = 2**31 - 1


def value(name: str, shape: list[int] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(*nodes: onnx.NodeProto, weights=(), inputs=None, functions=()) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes), "g", inputs or [value("x", [1])], [value("y", None)], list(weights)
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("d", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)


def tensor(kind: int, dims: list[int], **data) -> TensorProto:
    return TensorProto(name="w", data_type=kind, dims=dims, **data)


ADD = helper.make_node("Add", ["x", "w"], ["y"], "add")


@pytest.mark.parametrize(
    "weight",
    [
        tensor(TensorProto.FLOAT, [MANY], raw_data=bytes(16)),
        tensor(TensorProto.FLOAT, [MANY]),
        tensor(TensorProto.FLOAT, [MANY], float_data=[1, 2]),
        tensor(TensorProto.FLOAT, [2], raw_data=bytes(12)),
        tensor(TensorProto.FLOAT16, [3], int32_data=[1, 2]),
        tensor(TensorProto.INT4, [5], raw_data=bytes(2)),
        tensor(TensorProto.INT4, [5], int32_data=[0] * 4),
        tensor(TensorProto.COMPLEX64, [2], float_data=[1, 2]),
        tensor(TensorProto.STRING, [MANY], string_data=[b"a"]),
        tensor(TensorProto.FLOAT, [-1], raw_data=bytes(4)),
        tensor(TensorProto.FLOAT, [2**32, 2**32]),
        tensor(TensorProto.FLOAT, [1] * 65, raw_data=bytes(4)),
        tensor(99, [3], raw_data=bytes(12)),
    ],
)
def test_a_tensor_of_other_data_than_it_claims_is_refused_wherever_it_is(weight) -> None:
    with pytest.raises(ModelError, match="damaged: weight 'w'"):
        check_claims(model_of(ADD, weights=[weight]), "m")
    constant = helper.make_node("Constant", [], ["w"], value=weight)
    with pytest.raises(ModelError, match="damaged: weight 'w'"):
        check_claims(model_of(constant, ADD), "m")
    branch = helper.make_graph([constant], "b", [], [value("w", None)])
    inside = helper.make_node("If", ["c"], ["w"], then_branch=branch, else_branch=branch)
    with pytest.raises(ModelError, match="damaged: weight 'w'"):
        check_claims(model_of(inside, ADD), "m")
    function = helper.make_function("d", "F", [], ["w"], [constant], [helper.make_opsetid("", 20)])
    with pytest.raises(ModelError, match="damaged: weight 'w'"):
        check_claims(model_of(ADD, functions=[function]), "m")


@pytest.mark.parametrize(
    "weight",
    [
        tensor(TensorProto.FLOAT, [0]),
        tensor(TensorProto.FLOAT, [0, 2**62]),
        tensor(TensorProto.FLOAT, [], float_data=[1]),
        tensor(TensorProto.INT4, [5], raw_data=bytes(3)),
        tensor(TensorProto.INT4, [5], int32_data=[0] * 3),
        tensor(TensorProto.BFLOAT16, [2], int32_data=[0] * 2),
        tensor(TensorProto.UINT32, [2], uint64_data=[0] * 2),
        tensor(TensorProto.STRING, [1], string_data=[b"a"]),
        tensor(TensorProto.COMPLEX128, [2], double_data=[0] * 4),
        *[numpy_helper.from_array(np.zeros((2, 3), kind)) for kind in "fdebBhHiIlL?FD"],
    ],
)
def test_a_whole_tensor_passes_in_each_of_its_forms(weight) -> None:
    check_claims(model_of(ADD, weights=[weight]), "m")


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [("ConstantOfShape", ["s"]), ("Expand", ["x", "s"]), ("Reshape", ["x", "s"]),
     ("Tile", ["x", "s"]), ("Resize", ["x", "", "", "s"]), ("Unsqueeze", ["x", "s"])],
)  # fmt: skip
def test_no_operand_can_ask_for_any_number_of_dimensions(operator, inputs) -> None:
    node = helper.make_node(operator, inputs, ["y"], "ask")
    given = [value("x", [1]), value("s", [MANY], TensorProto.INT64)]
    with pytest.raises(ModelError, match=rf"'ask' \({operator}\) would make a tensor of 2,147,483"):
        check_claims(model_of(node, inputs=given), "m")


@pytest.mark.parametrize("shape", [[1] * 65, [2**40, 2**40]])
def test_no_value_can_be_of_any_size(shape) -> None:
    with pytest.raises(ModelError, match="value 'x' has dimensions"):
        check_claims(model_of(ADD, inputs=[value("x", shape)]), "m")


def function_of(name: str, *calls: str) -> onnx.FunctionProto:
    names = ["a", *(f"t{index}" for index in range(len(calls) - 1)), "b"]
    body = [
        helper.make_node(call, [names[i]], [names[i + 1]], domain="d")
        for i, call in enumerate(calls)
    ]
    return helper.make_function("d", name, ["a"], ["b"], body, [helper.make_opsetid("d", 1)])


def test_functions_end() -> None:
    call = helper.make_node("F0", ["x"], ["y"], domain="d")
    chain = [function_of(f"F{i}", f"F{i + 1}", f"F{i + 1}") for i in range(10)]
    check_claims(model_of(call, functions=[*chain, function_of("F10", "Relu")]), "m")
    circle = [function_of("F0", "G"), function_of("G", "F0")]
    with pytest.raises(ModelError, match="calls itself"):
        check_claims(model_of(call, functions=circle), "m")
    bomb = [function_of(f"F{i}", f"F{i + 1}", f"F{i + 1}") for i in range(40)]
    with pytest.raises(ModelError, match=r"its functions come to 1,099,511,627,776 nodes"):
        check_claims(model_of(call, functions=bomb), "m")


@pytest.mark.parametrize("kind", ["graph", "function"])
def test_an_attribute_of_no_type_is_refused(kind) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"], "soft", axis=0)
    node.attribute[0].type = onnx.AttributeProto.UNDEFINED
    model = model_of(node)
    if kind == "function":
        opset = helper.make_opsetid("", 20)
        function = helper.make_function("d", "F", ["x"], ["y"], [node], [opset])
        model = model_of(helper.make_node("F", ["x"], ["y"], domain="d"), functions=[function])
    with pytest.raises(ModelError, match=r"attribute 'axis' of node 'soft' \(Softmax\) is of no"):
        check_claims(model, "m")


@pytest.mark.parametrize("value", [list(range(70_000)), [0.5] * 70_000, "i" * 70_000])
def test_no_attribute_is_of_any_length(value) -> None:
    node = helper.make_node("Einsum", ["x"], ["y"], "sum", long=value)
    with pytest.raises(ModelError, match=r"attribute 'long' .* has 70,000 values, which no"):
        check_claims(model_of(node), "m")
    constant = helper.make_node("Constant", [], ["y"], "c", value_ints=list(range(70_000)))
    check_claims(model_of(constant), "m")
