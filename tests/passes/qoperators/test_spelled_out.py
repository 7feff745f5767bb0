"""QOperators in QDQ form: ONNX Runtime computes the same of both, but for a step at ties."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from ingot.passes.qoperators import SpellOut
from ingot.reference.session import Reference

CONTRIB = "com.microsoft"


def integers(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(seed)
    return generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def bias(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(-3000, 3000, count, np.int32)


def scales(count: int) -> np.ndarray:
    return np.random.default_rng(6).uniform(0.002, 0.01, count).astype(np.float32)


def scale(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def zero(value: int, dtype: str = "uint8") -> np.ndarray:
    return np.array(value, dtype)


@dataclasses.dataclass(frozen=True)
class Case:
    """A node; the tensors named in ``inputs`` are the graph's inputs, others initializers."""

    operator: str
    tensors: list[np.ndarray | None]
    inputs: tuple[int, ...] = (0,)
    attributes: dict[str, object] = dataclasses.field(default_factory=dict)
    domain: str = CONTRIB
    dtype: str = "uint8"

    def model(self) -> onnx.ModelProto:
        names = ["" if t is None else f"t{index}" for index, t in enumerate(self.tensors)]
        node = helper.make_node(
            self.operator, names, ["y"], "node", domain=self.domain, **self.attributes
        )
        result = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            [node],
            "g",
            [
                helper.make_tensor_value_info(
                    names[index],
                    helper.np_dtype_to_tensor_dtype(self.tensors[index].dtype),
                    self.tensors[index].shape,
                )
                for index in self.inputs
            ],
            [helper.make_tensor_value_info("y", result, None)],
            [
                numpy_helper.from_array(t, name)
                for index, (name, t) in enumerate(zip(names, self.tensors, strict=True))
                if t is not None and index not in self.inputs
            ],
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def feeds(self) -> dict[str, np.ndarray]:
        return {f"t{index}": self.tensors[index] for index in self.inputs}


IMAGE = integers("uint8", 1, 8, 9, 9)
SEQUENCE = integers("uint8", 1, 8, 9)
NHWC = integers("uint8", 1, 9, 9, 8)
FILTERS = integers("int8", 6, 8, 3, 3, seed=1)
ROWS = integers("uint8", 5, 12)
GRID = [scale(0.03), zero(120)]
RESULT = [scale(0.07), zero(110)]
SIGNED = [scale(0.03), zero(-7, "int8")]
ONE = [np.array([0.03], "f"), np.array([120], np.uint8)]

CASES = {
    "convolution": Case(
        "QLinearConv",
        [IMAGE, *GRID, FILTERS, scale(0.004), zero(0, "int8"), scale(0.3), zero(110), bias(6)],
        attributes={"pads": [1, 1, 1, 1], "strides": [2, 2]},
        domain="",
    ),
    "convolution per channel": Case(
        "QLinearConv",
        [IMAGE, *ONE, FILTERS, scales(6), np.zeros(6, np.int8), scale(0.3), zero(110), bias(6)],
        domain="",
    ),
    "convolution of one zero point": Case(
        "QLinearConv",
        [IMAGE, *GRID, integers("uint8", 6, 8, 3, 3), scales(6), zero(117), scale(0.3), zero(110)],
        domain="",
    ),
    "convolution of a sequence": Case(
        "QLinearConv",
        [
            IMAGE[0, :, :1].swapaxes(0, 1).copy(),
            *GRID,
            FILTERS[:, :, 0],
            scales(6),
            np.zeros(6, np.int8),
            scale(0.3),
            zero(9),
        ],
        domain="",
    ),
    "convolution with channels last": Case(
        "QLinearConv",
        [NHWC, *GRID, FILTERS, scale(0.004), zero(0, "int8"), scale(0.3), zero(110), bias(6)],
        attributes={"channels_last": 1, "pads": [1, 1, 1, 1]},
    ),
    "product": Case(
        "QLinearMatMul",
        [ROWS, *GRID, integers("int8", 12, 7), scale(0.01), zero(2, "int8"), scale(0.2), zero(99)],
        domain="",
    ),
    "product per column": Case(
        "QLinearMatMul",
        [ROWS, *GRID, integers("int8", 12, 7), scales(7), np.zeros(7, "int8"), *RESULT],
        domain="",
    ),
    "product of two inputs": Case(
        "QLinearMatMul",
        [ROWS, *ONE, integers("uint8", 12, 7), np.array([0.01], "f"), np.array([9], "u1"), *RESULT],
        inputs=tuple(range(8)),
        domain="",
    ),
    "dense": Case(
        "QGemm",
        [ROWS, *GRID, integers("int8", 12, 7), scale(0.01), zero(0, "int8"), bias(7), *RESULT],
        attributes={"alpha": 0.5},
    ),
    "dense, transposed, per row": Case(
        "QGemm",
        [ROWS, *GRID, integers("int8", 7, 12), scales(7), np.zeros(7, "int8"), bias(7), *RESULT],
        attributes={"transB": 1},
    ),
    "dense to floats": Case(
        "QGemm",
        [ROWS, *GRID, integers("int8", 12, 7), scale(0.01), zero(0, "int8"), None, None, None],
        dtype="float32",
    ),
    "sum": Case(
        "QLinearAdd", [ROWS, *GRID, integers("uint8", 12), scale(0.02), zero(100), *RESULT]
    ),
    "product of elements": Case(
        "QLinearMul", [ROWS, *GRID, integers("uint8", 12), scale(0.02), zero(100), *RESULT]
    ),
    "sigmoid": Case("QLinearSigmoid", [ROWS, *GRID, scale(1 / 256), zero(0)]),
    "leaky ReLU": Case("QLinearLeakyRelu", [ROWS, *GRID, *GRID], attributes={"alpha": 0.1}),
    "leaky ReLU, signed": Case(
        "QLinearLeakyRelu",
        [integers("int8", 5, 12), *SIGNED, *SIGNED],
        attributes={"alpha": 0.1},
        dtype="int8",
    ),
    "average": Case(
        "QLinearAveragePool",
        [IMAGE, *GRID, *GRID],
        attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 0},
    ),
    "global average": Case(
        "QLinearGlobalAveragePool", [IMAGE, *GRID, *RESULT], attributes={"channels_last": 0}
    ),
    "softmax": Case(
        "QLinearSoftmax",
        [ROWS, *GRID, scale(1 / 256), zero(0)],
        attributes={"axis": -1, "opset": 13},
    ),
    "concatenation": Case(
        "QLinearConcat",
        [*RESULT, ROWS, *GRID, integers("uint8", 5, 3), scale(0.02), zero(9)],
        inputs=(2, 5),
        attributes={"axis": 1},
    ),
    "choice": Case(
        "QLinearWhere",
        [ROWS > 99, ROWS, *GRID, ROWS[::-1].copy(), scale(0.02), zero(9), *RESULT],
        inputs=(0, 1),
    ),
    "quantization": Case(
        "QuantizeLinear", [(ROWS - 99.0).astype("f"), scale(0.9), zero(11)], attributes={"axis": 1}
    ),
    "dequantization": Case("DequantizeLinear", [ROWS, *GRID], dtype="float32"),
    "dynamic product": Case(
        "DynamicQuantizeMatMul",
        [(ROWS - 99.0).astype("f"), integers("int8", 12, 7), scales(7), None, scales(7)],
        dtype="float32",
    ),
    "product to floats": Case(
        "MatMulIntegerToFloat",
        [ROWS, integers("uint8", 12, 7), scale(0.1), scales(7), zero(9), zero(8), scales(7)],
        dtype="float32",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_results_are_a_step_apart_at_most(case: str) -> None:
    given = CASES[case]
    before = ir.from_proto(given.model())
    after = before.clone()
    outcome = SpellOut()(after)
    assert outcome.applied == 1
    assert {node.domain for node in after.graph} == {""}
    assert not any(node.op_type.startswith("QLinear") for node in after.graph)
    expected = Reference(before).run(given.feeds())["y"]
    actual = Reference(after).run(given.feeds())["y"]
    assert actual.dtype == expected.dtype == given.dtype
    if given.dtype == "float32":
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)
        return
    difference = np.abs(actual.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    # ONNX Runtime looks a sigmoid and a softmax up by the integer, or approximates the exponential.
    assert np.count_nonzero(difference) <= 0.05 * difference.size


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (
            Case(
                "QLinearMatMul",
                [ROWS, scales(5)[:, None], ROWS[:, :1], ROWS.T.copy(), *GRID, *RESULT],
                domain="",
            ),
            "scales",
        ),
        (
            Case("QLinearSoftmax", [IMAGE, *GRID, *GRID], attributes={"axis": 1, "opset": 12}),
            "several axes at once",
        ),
        (
            Case("QLinearAveragePool", [NHWC, *GRID, *GRID], attributes={"channels_last": 1}),
            "channels are last",
        ),
    ],
    ids=["scales of two axes", "softmax of old", "channels last"],
)
def test_what_has_no_such_form_stays(case: Case, reason: str) -> None:
    model = ir.from_proto(case.model())
    initializers = set(model.graph.initializers)
    outcome = SpellOut()(model)
    assert outcome.applied == 0
    assert [place.node for place in outcome.declined] == ["node"]
    assert reason in outcome.declined[0].reason
    assert set(model.graph.initializers) == initializers
