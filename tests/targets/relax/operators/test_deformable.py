"""Deformable convolution: groups of channels and of offsets, mask, bias, taps out of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import normal


def model(
    operands: list[str], shapes: dict[str, list[Any]], weights: np.ndarray, **attributes: Any
) -> onnx.ModelProto:
    constants = {"w": weights, "b": normal(weights.shape[0], seed=5)}
    graph = helper.make_graph(
        [helper.make_node("DeformConv", operands, ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in shapes],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(constants[n], n) for n in operands if n in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


@pytest.mark.parametrize(
    ("channels", "attributes", "operands"),
    [
        (2, {"pads": [1, 1, 1, 1]}, ["x", "w", "o"]),
        (4, {"group": 2, "offset_group": 2, "strides": [2, 1]}, ["x", "w", "o", "b", "m"]),
        (2, {"dilations": [2, 1], "pads": [2, 0, 1, 0]}, ["x", "w", "o", "", "m"]),
    ],
)
def test_forms(
    compile_for_cpu: Compile, channels: int, attributes: dict[str, Any], operands: list[str]
) -> None:
    weights = normal(4, channels // attributes.get("group", 1), 3, 2, seed=1)
    strides, dilations = (attributes.get(name, [1, 1]) for name in ("strides", "dilations"))
    pads = attributes.get("pads", [0] * 4)
    height, width = (
        (size + pads[axis] + pads[axis + 2] - (taps - 1) * dilations[axis] - 1) // strides[axis] + 1
        for axis, (size, taps) in enumerate(zip((6, 5), (3, 2), strict=True))
    )
    taps = 6 * attributes.get("offset_group", 1)
    inputs = {
        "x": normal(2, channels, 6, 5, seed=2),
        "o": 2 * normal(2, 2 * taps, height, width, seed=3),
        "m": normal(2, taps, height, width, seed=4),
    }
    inputs = {name: array for name, array in inputs.items() if name in operands}
    shapes: dict[str, list[Any]] = {name: list(array.shape) for name, array in inputs.items()}
    shapes["x"][0] = "n"
    deformable = model(operands, shapes, weights, **attributes)
    (expected,) = ReferenceEvaluator(deformable).run(None, inputs)
    (actual,) = compile_for_cpu(deformable)(*inputs.values())
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
