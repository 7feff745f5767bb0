"""Weights in a shorter type are stored in it, and come back bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from ingot.compiler.artifact_writer import serialize_weights
from ingot.compiler.build import compile_model
from ingot.compiler.narrowing import Scales, known_scales, narrowed
from ingot.runtime.safetensors import map_tensors

GENERATOR = np.random.default_rng(0)
COLUMNS = GENERATOR.uniform(0.001, 0.02, 70).astype(np.float32)
BLOCKS = GENERATOR.uniform(0.001, 0.02, (4, 70)).astype(np.float32)


def integers(low: int, high: int, *shape: int) -> np.ndarray:
    return GENERATOR.integers(low, high, shape, endpoint=True).astype(np.float32)


def panels(matrix: np.ndarray, width: int = 32) -> np.ndarray:
    """[K, N] as a kernel reads it: [panel, K, width], zeros behind the last column."""
    padded = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % width)))
    return np.ascontiguousarray(padded.reshape(len(matrix), -1, width).swapaxes(0, 1))


def scales(scale: np.ndarray, zero: int = 0) -> Scales:
    return Scales(scale, np.full(scale.shape, zero, np.int32))


SCALED = {
    "per column": (panels(integers(-127, 127, 64, 70) * COLUMNS), scales(COLUMNS), 8),
    "per tensor": (integers(-127, 127, 64, 70) * np.float32(0.03), scales(np.float32([0.03])), 8),
    "rows of a table": ((integers(-127, 127, 64, 70) * COLUMNS).T.copy(), scales(COLUMNS), 8),
    "filters": (
        panels(integers(-127, 127, 72, 70) * COLUMNS).reshape(3, 3, 3, 8, 32),
        scales(COLUMNS),
        8,
    ),
    "unsigned": (panels((integers(0, 255, 64, 70) - 99) * COLUMNS), scales(COLUMNS, 99), 8),
    "of four bits": (panels(integers(-8, 7, 64, 70) * COLUMNS), scales(COLUMNS), 4),
    "blocks": (panels(integers(-8, 7, 64, 70) * BLOCKS.repeat(16, 0)), scales(BLOCKS), 4),
    "blocks of columns": (
        (integers(-127, 127, 64, 70) * BLOCKS.repeat(16, 0)).T.copy(),
        scales(BLOCKS),
        8,
    ),
}


def restored(array: np.ndarray, known: list[Scales]) -> np.ndarray:
    data = b"".join(serialize_weights({"before": np.ones(3), "w": array}, known))
    assert len(data) < 0.6 * array.nbytes
    tensors = map_tensors(memoryview(data))
    assert list(tensors) == ["before", "w"]
    return tensors["w"]


@pytest.mark.parametrize("case", SCALED)
def test_integers_with_scales(case: str) -> None:
    array, known, bits = SCALED[case]
    other = scales(np.float32([0.07]))
    found = narrowed(array, [other, known])
    assert found is not None
    assert found.bits == bits
    back = restored(array, [other, known])
    np.testing.assert_array_equal(back.view(np.uint32), array.view(np.uint32))
    assert back.ctypes.data % 64 == 0


@pytest.mark.parametrize("kind", ["float16", "upper halves"])
def test_floats_of_sixteen_bits(kind: str) -> None:
    array = GENERATOR.normal(size=(64, 70)).astype(np.float32)
    array[0, :4] = np.inf, -np.inf, -0.0, 1e-7 if kind == "float16" else 1e30
    if kind == "float16":
        array = array.astype(np.float16).astype(np.float32)
    else:
        array = (array.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(restored(array, []).view(np.uint32), array.view(np.uint32))


def test_what_no_shorter_type_holds_stays() -> None:
    array = GENERATOR.normal(size=(64, 70)).astype(np.float32)
    assert narrowed(array, [scales(COLUMNS)]) is None
    almost = panels(integers(-127, 127, 64, 70) * COLUMNS)
    almost[1, 5, 9] += 1e-6
    assert narrowed(almost, [scales(COLUMNS)]) is None
    assert narrowed(np.zeros((64, 70)), []) is None
    assert narrowed(np.zeros(8, np.float32), []) is None


def model(kind: str) -> onnx.ModelProto:
    """Two products with weights of another type than float32."""
    stored = GENERATOR.integers(-127, 127, (128, 128)).astype(np.int8)
    tensors = {"w": stored, "s": COLUMNS[:1].repeat(128) * np.arange(1, 129, dtype=np.float32)}
    if kind == "float16":
        tensors = {"w": (stored / 300).astype(np.float16)}
        real = [helper.make_node("Cast", ["w"], ["r"], to=onnx.TensorProto.FLOAT)]
    elif kind == "cast and multiplied":
        real = [
            helper.make_node("Cast", ["w"], ["f"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", ["f", "s"], ["r"]),
        ]
    else:
        real = [helper.make_node("DequantizeLinear", ["w", "s"], ["r"], axis=1)]
    nodes = [
        *real,
        helper.make_node("MatMul", ["x", "r"], ["m"]),
        helper.make_node("Tanh", ["m"], ["t"]),
        helper.make_node("MatMul", ["t", "r"], ["y"]),
    ]
    float_type = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "weights_alone",
        [helper.make_tensor_value_info("x", float_type, [4, 128])],
        [helper.make_tensor_value_info("y", float_type, [4, 128])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("kind", ["float16", "cast and multiplied", "dequantized"])
def test_an_artifact_holds_weights_once_in_their_own_type(kind: str, tmp_path: Path) -> None:
    artifact = compile_model(model(kind), tmp_path / "m.ingot", fallback=False)
    size = artifact.manifest.members["params.safetensors"].size
    width = 2 if kind == "float16" else 1
    assert size < 1.2 * width * 128 * 128
    assert artifact.manifest.measured["verification"]["ran"]


def test_scales_are_known_once() -> None:
    graph = ir.from_proto(model("dequantized"))
    assert len(known_scales(graph, graph.clone())) == 1
