"""Tensors of types that NumPy lacks go to ONNX Runtime and come back unchanged."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from ingot.runtime.onnxruntime.values import from_value, needs_value, run_session, to_value

DTYPES = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "int4", "uint4", "int2"]


@pytest.mark.parametrize("name", [*DTYPES, "uint2", "float8_e8m0fnu"])
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (3, 5)])
def test_values_come_back(name: str, shape: tuple[int, ...]) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    array = array.astype(np.float32).astype(dtype)
    value, memory = to_value(array)
    back = from_value(value)
    assert memory.shape == array.shape
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back.astype(np.float32), array.astype(np.float32))


def test_what_numpy_has_needs_no_value() -> None:
    assert not needs_value(np.dtype(np.float16))
    assert needs_value(np.dtype(ml_dtypes.int4))


def _cast(source: int, target: int) -> ort.InferenceSession:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=target)],
        "cast",
        [helper.make_tensor_value_info("x", source, [5])],
        [helper.make_tensor_value_info("y", target, [5])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return ort.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4", "uint4"])
def test_sessions_take_and_give_them(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    number = helper.np_dtype_to_tensor_dtype(dtype)
    numbers = np.float32([0, 1, 2, 3, 7])
    [given] = run_session(_cast(TensorProto.FLOAT, number), ["y"], {"x": numbers})
    assert given.dtype == dtype
    [back] = run_session(_cast(number, TensorProto.FLOAT), ["y"], {"x": given})
    np.testing.assert_array_equal(back, numbers.astype(dtype).astype(np.float32))
