"""Attention computes softmax(Q Kᵀ · scale + mask) V, and says which forms it does not take."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from ingot.errors import UnsupportedOperatorError
from tests.targets.cpu.conftest import Run

SHAPE = {"q": (2, 3, 5, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 6)}


def expected(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | float, scale: float
) -> np.ndarray:
    scores = q.astype(np.float64) @ np.swapaxes(k, -1, -2) * scale + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def model(mask: str | None = None, **attributes: float):
    types = {"float": TensorProto.FLOAT, "bool": TensorProto.BOOL}
    names = ["q", "k", "v", *(["mask"] if mask else [])]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in SHAPE.items()]
    if mask:
        inputs.append(helper.make_tensor_value_info("mask", types[mask], [2, 1, 5, 7]))
    graph = helper.make_graph(
        [helper.make_node("Attention", names, ["y"], "attention", **attributes)],
        "g",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, 5, 6])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def arrays() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape).astype(np.float32) for shape in SHAPE.values()]


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("mask", [None, "float", "bool"])
def test_forms(run_on_cpu: Run, scale: float | None, mask: str | None) -> None:
    inputs = arrays()
    generator = np.random.default_rng(1)
    added: np.ndarray | float = 0.0
    attributes = {} if scale is None else {"scale": scale}
    given = list(inputs)
    if mask == "float":
        added = generator.normal(size=(2, 1, 5, 7)).astype(np.float32)
        given.append(added)
    elif mask == "bool":
        attended = generator.random((2, 1, 5, 7)) < 0.7
        attended[..., 0] = True
        added = np.where(attended, 0.0, -np.inf)
        given.append(attended)
    (actual,) = run_on_cpu(model(mask, **attributes), *given)
    wanted = expected(*inputs, added, scale or 1 / math.sqrt(4))
    np.testing.assert_allclose(actual, wanted, atol=1e-5)


@pytest.mark.parametrize("attributes", [{"is_causal": 1}, {"softcap": 2.0}])
def test_forms_that_are_not_lowered_are_named(
    run_on_cpu: Run, attributes: dict[str, float]
) -> None:
    name = next(iter(attributes))
    with pytest.raises(UnsupportedOperatorError, match=f"node 'attention'.*{name}=.*not lowered"):
        run_on_cpu(model(**attributes), *arrays())
