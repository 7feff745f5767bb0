"""TensorScatter writes an update into a cache, at each example's own position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ingot.errors import UnsupportedOperatorError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Run


def model(new: int | str, begins: bool = True, **attributes: Any):
    names = ["cache", "update", *(["begins"] if begins else [])]
    inputs = [
        helper.make_tensor_value_info("cache", TensorProto.FLOAT, [3, 2, 7, 5]),
        helper.make_tensor_value_info("update", TensorProto.FLOAT, [3, 2, new, 5]),
        helper.make_tensor_value_info("begins", TensorProto.INT64, [3]),
    ]
    graph = helper.make_graph(
        [helper.make_node("TensorScatter", names, ["y"], "scatter", **attributes)],
        "g",
        inputs[: len(names)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 2, 7, 5])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)


@pytest.mark.parametrize(
    ("mode", "begins"),
    [("linear", [0, 2, 4]), ("linear", None), ("circular", [5, 6, 1]), ("circular", [9, 20, 3])],
)
@pytest.mark.parametrize("new", [3, "N"])
def test_modes(run_on_cpu: Run, mode: str, begins: list[int] | None, new: int | str) -> None:
    proto = model(new, begins is not None, mode=mode, axis=2)
    generator = np.random.default_rng(0)
    inputs = {
        "cache": generator.normal(size=(3, 2, 7, 5)).astype(np.float32),
        "update": generator.normal(size=(3, 2, 3, 5)).astype(np.float32),
    }
    if begins is not None:
        inputs["begins"] = np.array(begins)
    (actual,) = run_on_cpu(proto, *inputs.values())
    np.testing.assert_array_equal(actual, Reference(proto).run(inputs)["y"])


def test_positions_do_not_lie_in_the_first_dimension(run_on_cpu: Run) -> None:
    with pytest.raises(UnsupportedOperatorError, match="node 'scatter'.*first dimension"):
        run_on_cpu(model(3, axis=0))
