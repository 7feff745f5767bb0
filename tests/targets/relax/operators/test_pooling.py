"""MaxPool, AveragePool, LpPool: windows that stand out, indices, fixed and open sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ingot.errors import UnsupportedOperatorError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import ROUNDING, normal

FORMS: dict[str, tuple[str, dict[str, Any], int]] = {
    "largest, same": (
        "MaxPool",
        {"kernel_shape": [3, 3], "strides": [2, 3], "auto_pad": "SAME_UPPER"},
        1,
    ),
    "largest, a window in the padding": (
        "MaxPool",
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        1,
    ),
    "largest, where": ("MaxPool", {"kernel_shape": [2, 3], "pads": [1, 1, 0, 1]}, 2),
    "largest, where by columns": (
        "MaxPool",
        {"kernel_shape": [2, 2], "strides": [2, 2], "storage_order": 1, "dilations": [2, 1]},
        2,
    ),
    "mean, padding counted up to its end": (
        "AveragePool",
        {
            "kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1,
            "count_include_pad": 1,
        },
        1,
    ),
    "mean, same": (
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        1,
    ),
    "norm of power three": ("LpPool", {"kernel_shape": [2, 2], "p": 3, "pads": [1, 0, 0, 1]}, 1),
}  # fmt: skip


def model(shape: list[Any], forms: list[tuple[str, dict[str, Any], int]]) -> onnx.ModelProto:
    """Forms side by side, on one image."""
    nodes, outputs = [], []
    for number, (operator, attributes, count) in enumerate(forms):
        names = [f"y{number}_{output}" for output in range(count)]
        nodes.append(helper.make_node(operator, ["x"], names, **attributes))
        kinds = [TensorProto.FLOAT, TensorProto.INT64]
        outputs += [
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in zip(names, kinds, strict=False)
        ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "g", [image], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


@pytest.mark.parametrize("open_", [False, True])
def test_forms(compile_for_cpu: Compile, open_: bool) -> None:
    forms = [form for form in FORMS.values() if form[2] == 1 or not open_]
    pools = model(["n", 3, "h", "w"] if open_ else [2, 3, 7, 8], forms)
    compiled = compile_for_cpu(pools)
    reference = Reference(pools)
    for sizes in [(7, 8), (10, 9)] if open_ else [(7, 8)]:
        image = normal(2, 3, *sizes)
        expected = reference.run({"x": image})
        for (name, wanted), actual in zip(expected.items(), compiled(image), strict=True):
            assert (actual.shape, actual.dtype) == (wanted.shape, wanted.dtype), name
            bound = ROUNDING * np.abs(wanted).max()
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=bound, err_msg=name)


def test_indices_are_not_for_open_images(compile_for_cpu: Compile) -> None:
    with pytest.raises(UnsupportedOperatorError, match="MaxPool.*indices.*open size"):
        compile_for_cpu(model([1, 3, "h", "w"], [FORMS["largest, where"]]))
