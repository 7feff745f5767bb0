"""The first elements of rows, by a heap: of every size, order and type."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.targets.cpu.conftest import Compile


def _model(dtype: str, axis: int, largest: int) -> object:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("TopK", ["x", "k"], ["v", "i"], axis=axis, largest=largest)],
        "top",
        [
            helper.make_tensor_value_info("x", kind, ["N", "M", 2]),
            helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("v", kind, ["A", "B", "C"]),
            helper.make_tensor_value_info("i", TensorProto.INT64, ["A", "B", "C"]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_ranks(compile_for_cpu: Compile, axis: int, largest: int) -> None:
    compiled = compile_for_cpu(_model("float32", axis, largest))
    generator = np.random.default_rng(0)
    for shape in ((3, 50, 2), (1, 1, 2), (40, 3, 2), (3, 0, 2)):
        # Few different numbers, so that many are equal.
        data = generator.integers(-5, 6, shape).astype(np.float32)
        size = shape[axis]
        for count in {0, min(1, size), size // 2, size}:
            values, indices = compiled(data, np.array([count]))
            order = np.argsort(-data if largest else data, axis=axis, kind="stable")
            expected = np.take(order, np.arange(count), axis=axis)
            np.testing.assert_array_equal(indices, expected)
            np.testing.assert_array_equal(values, np.take_along_axis(data, expected, axis))


@pytest.mark.parametrize("largest", [0, 1])
def test_not_a_number_is_larger_than_all(compile_for_cpu: Compile, largest: int) -> None:
    compiled = compile_for_cpu(_model("float32", 1, largest))
    column = np.array([1, np.nan, np.inf, -np.inf, np.nan, 0], np.float32)
    data = np.stack([column, column[::-1]], axis=-1)[None]
    values, _ = compiled(data, np.array([6]))
    ordered = [np.nan, np.nan, np.inf, 1, 0, -np.inf]
    for position in range(2):
        np.testing.assert_array_equal(values[0, :, position], ordered if largest else ordered[::-1])


def test_several_that_are_no_number_stay_in_order(compile_for_cpu: Compile) -> None:
    compiled = compile_for_cpu(_model("float32", 1, 1))
    data = np.full((1, 5, 2), np.nan, np.float32)
    data[0, 2] = 7
    _, indices = compiled(data, np.array([5]))
    np.testing.assert_array_equal(indices[0], np.array([[0, 1, 3, 4, 2]] * 2).T)
