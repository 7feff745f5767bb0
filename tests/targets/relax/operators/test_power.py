"""Pow of every pair of types gives the base's type, as ONNX Runtime computes it."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Run

TYPES = [("float32", "int64"), ("float32", "float64"), ("int32", "float32"), ("int64", "int32"),
         ("float64", "int32"), ("float32", "float32")]  # fmt: skip


@pytest.mark.parametrize(("base", "exponent"), TYPES)
def test_types(run_on_cpu: Run, base: str, exponent: str) -> None:
    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in (base, exponent)]
    graph = helper.make_graph(
        [
            helper.make_node("Pow", ["x", "e"], ["y"]),
            helper.make_node("Pow", ["x", "three"], ["z"]),
        ],
        "powers",
        [
            helper.make_tensor_value_info(name, kind, [4])
            for name, kind in zip("xe", kinds, strict=True)
        ],
        [helper.make_tensor_value_info(name, kinds[0], [4]) for name in "yz"],
        [numpy_helper.from_array(np.array(3, exponent), "three")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=10)
    inputs = {"x": np.array([-2, 3, 5, 1], base), "e": np.array([3, 2, 4, 0], exponent)}
    expected = Reference(model).run(inputs)
    for actual, wanted in zip(run_on_cpu(model, *inputs.values()), expected.values(), strict=True):
        assert actual.dtype == base
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)
