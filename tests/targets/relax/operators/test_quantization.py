"""Quantization in every form that ONNX has: what ONNX Runtime computes, bit by bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Run

FLOAT = onnx.TensorProto.FLOAT
X = np.random.default_rng(0).normal(size=(3, 8, 5)).astype(np.float32) * 40


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 2.0, shape).astype(np.float32)


def integers(dtype: str, *shape: int, seed: int = 2) -> np.ndarray:
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -1000), min(limits.max, 1000)
    return np.random.default_rng(seed).integers(low, high, shape, dtype, endpoint=True)


def build(operator, arrays, constants, outputs=1, opset=23, **attributes) -> onnx.ModelProto:
    """A model of one node; arrays that are not constants are its inputs."""
    names = ["" if array is None else f"input{index}" for index, array in enumerate(arrays)]
    results = [f"y{index}" for index in range(outputs)]
    given = {name: array for name, array in zip(names, arrays, strict=True) if name}
    graph = helper.make_graph(
        [helper.make_node(operator, names, results, "node", **attributes)],
        "g",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in given.items()
            if not constants or name == "input0"
        ],
        [helper.make_empty_tensor_value_info(name) for name in results],
        [
            numpy_helper.from_array(array, name)
            for name, array in given.items()
            if constants and name != "input0"
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10)
    )


def assert_same(run: Run, model: onnx.ModelProto, arrays: list[np.ndarray | None]) -> None:
    known = {value.name for value in model.graph.input}
    feeds = {
        f"input{index}": array
        for index, array in enumerate(arrays)
        if array is not None and f"input{index}" in known
    }
    expected = Reference(model).run(feeds)
    for actual, wanted in zip(run(model, *feeds.values()), expected.values(), strict=True):
        assert actual.dtype == wanted.dtype
        np.testing.assert_array_equal(actual, wanted)


QUANTIZED = {
    "no zero point": ([X, np.array(0.5, "f")], {}),
    "a vector of one": ([X, numbers(1), integers("int8", 1)], {}),
    "per axis": ([X, numbers(8), integers("uint8", 8)], {}),
    "per last axis": ([X, numbers(5), integers("int8", 5)], {"axis": -1}),
    "of a vector": ([X[0, 0], numbers(5), integers("int8", 5)], {"axis": 0}),
    "int16": ([X * 300, numbers(3), integers("int16", 3)], {"axis": 0}),
    "uint16": ([X * 300, np.array(0.5, "f"), np.array(30000, np.uint16)], {}),
    "named type": ([X, np.array(0.5, "f")], {"output_dtype": onnx.TensorProto.INT8}),
    "in halves": ([X.astype("float16"), np.array(0.37, "float16"), np.array(3, np.uint8)], {}),
    "blocks": ([X, numbers(3, 4, 5), integers("uint8", 3, 4, 5)], {"block_size": 2}),
    "cut blocks": ([X, numbers(3, 3, 5), integers("int8", 3, 3, 5)], {"block_size": 3}),
}


@pytest.mark.parametrize("constants", [True, False], ids=["constants", "inputs"])
@pytest.mark.parametrize("case", QUANTIZED)
def test_quantize(run_on_cpu: Run, case: str, constants: bool) -> None:
    arrays, attributes = QUANTIZED[case]
    assert_same(run_on_cpu, build("QuantizeLinear", arrays, constants, **attributes), arrays)


def test_ties_go_to_even(run_on_cpu: Run) -> None:
    arrays = [np.arange(-8, 9, dtype=np.float32) / 2, np.array(1, "f"), np.array(128, np.uint8)]
    for constants in (True, False):
        assert_same(run_on_cpu, build("QuantizeLinear", arrays, constants), arrays)


@pytest.mark.parametrize("constants", [True, False], ids=["constants", "inputs"])
def test_integers_are_quantized_too(run_on_cpu: Run, constants: bool) -> None:
    values = X.astype(np.int32)
    arrays = [values, np.array(0.5, "f"), np.array(3, np.int8)]
    feeds = arrays[:1] if constants else arrays
    (actual,) = run_on_cpu(build("QuantizeLinear", arrays, constants), *feeds)
    np.testing.assert_array_equal(actual, np.clip(values * 2 + 3, -128, 127).astype(np.int8))


def q(dtype: str) -> np.ndarray:
    return integers(dtype, 3, 8, 5, seed=7)


DEQUANTIZED = {
    "no zero point": ([q("int8"), np.array(0.5, "f")], {}),
    "a vector of one": ([q("uint8"), numbers(1), integers("uint8", 1)], {}),
    "per axis": ([q("uint8"), numbers(8), integers("uint8", 8)], {}),
    "per last axis": ([q("int8"), numbers(5), integers("int8", 5)], {"axis": -1}),
    "of a vector": ([q("int8")[0, 0], numbers(5), integers("int8", 5)], {"axis": 0}),
    "int16": ([q("int16"), numbers(3), integers("int16", 3)], {"axis": 0}),
    "uint16": ([q("uint16"), np.array(0.5, "f"), np.array(500, np.uint16)], {}),
    "int32": ([q("int32"), numbers(8)], {}),
    "to halves": ([q("int8"), np.array(0.37, "float16"), np.array(3, np.int8)], {}),
    "blocks": ([q("uint8"), numbers(3, 4, 5), integers("uint8", 3, 4, 5)], {"block_size": 2}),
    "cut blocks": ([q("int8"), numbers(3, 3, 5)], {"block_size": 3}),
}


@pytest.mark.parametrize("constants", [True, False], ids=["constants", "inputs"])
@pytest.mark.parametrize("case", DEQUANTIZED)
def test_dequantize(run_on_cpu: Run, case: str, constants: bool) -> None:
    arrays, attributes = DEQUANTIZED[case]
    assert_same(run_on_cpu, build("DequantizeLinear", arrays, constants, **attributes), arrays)


@pytest.mark.parametrize(
    "values",
    [X, np.abs(X), -np.abs(X), np.zeros((2, 3), "f"), np.full((2, 3), 7, "f"), X[:1, :1, :1]],
    ids=["both signs", "positive", "negative", "zeros", "all alike", "one"],
)
def test_dynamic_quantization(run_on_cpu: Run, values: np.ndarray) -> None:
    model = build("DynamicQuantizeLinear", [values], False, outputs=3)
    assert_same(run_on_cpu, model, [values])
