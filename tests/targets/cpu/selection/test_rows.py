"""Which calls become the row kernels, and that all others stay right."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Run
from tests.targets.cpu.selection.test_attention import selected

COLUMNS = 45


def node_model(
    node: onnx.NodeProto, shape: tuple[Any, ...], type_: int = TensorProto.FLOAT, **weights: Any
) -> onnx.ModelProto:
    """A model of a node from ``x`` to ``y``, which another one reads: no output but ``z``."""
    node.name = "node"
    twice = helper.make_node("Add", ["y", "y"], ["z"], "twice")
    graph = helper.make_graph(
        [node, twice],
        "g",
        [helper.make_tensor_value_info("x", type_, shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


def agrees(run: Run, proto: onnx.ModelProto, x: np.ndarray) -> None:
    (actual,) = run(proto, x)
    np.testing.assert_allclose(actual, Reference(proto).run({"x": x})["z"], atol=2e-5)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 3, COLUMNS), ("N", 3, COLUMNS), ("N", 3, "L")])
@pytest.mark.parametrize("axis", [-1, 2, 1])
def test_softmax(run_on_cpu: Run, shape: tuple[Any, ...], axis: int) -> None:
    proto = node_model(helper.make_node("Softmax", ["x"], ["y"], axis=axis), shape)
    families, left = selected(proto)
    assert families["softmax"] == (axis != 1)
    assert ("relax.nn.softmax" in left) == (axis == 1)
    agrees(run_on_cpu, proto, normal(4, 3, COLUMNS))


@pytest.mark.parametrize("shape", [(4, 3, COLUMNS), ("N", 3, COLUMNS)])
@pytest.mark.parametrize(
    ("operator", "weights"),
    [
        ("LayerNormalization", ("g",)),
        ("LayerNormalization", ("g", "b")),
        ("RMSNormalization", ("g",)),
    ],
)
def test_norms(
    run_on_cpu: Run, shape: tuple[Any, ...], operator: str, weights: tuple[str, ...]
) -> None:
    node = helper.make_node(operator, ["x", *weights], ["y"], axis=-1, epsilon=1e-3)
    proto = node_model(node, shape, **{name: normal(COLUMNS) for name in weights})
    families, _ = selected(proto)
    assert families["norm"] == 1
    agrees(run_on_cpu, proto, normal(4, 3, COLUMNS))


@pytest.mark.parametrize("operator", ["LayerNormalization", "RMSNormalization"])
def test_a_norm_over_several_axes_is_one_over_rows_of_all(run_on_cpu: Run, operator: str) -> None:
    node = helper.make_node(operator, ["x", "g"], ["y"], axis=-2)
    proto = node_model(node, (4, 3, COLUMNS), g=normal(3, COLUMNS))
    families, _ = selected(proto)
    assert families["norm"] == 1
    agrees(run_on_cpu, proto, normal(4, 3, COLUMNS))


@pytest.mark.parametrize("index_type", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize("shape", [(), (6,), ("N", "L")])
def test_embedding_counts_negative_indices_from_the_end(
    run_on_cpu: Run, index_type: int, shape: tuple[Any, ...]
) -> None:
    node = helper.make_node("Gather", ["w", "x"], ["y"])
    proto = node_model(node, shape, index_type, w=normal(9, 20))
    families, left = selected(proto)
    assert families["gather"] == 1
    assert "relax.where" not in left  # the kernel itself counts from the end
    sizes = tuple(3 if isinstance(size, str) else size for size in shape)
    dtype = helper.tensor_dtype_to_np_dtype(index_type)
    indices = np.random.default_rng(0).integers(-9, 9, sizes).astype(dtype)
    agrees(run_on_cpu, proto, np.asarray(indices))


def test_gathering_columns_is_left_to_other_rules(run_on_cpu: Run) -> None:
    node = helper.make_node("Gather", ["w", "x"], ["y"], axis=1)
    proto = node_model(node, (3,), TensorProto.INT64, w=normal(9, 20))
    families, _ = selected(proto)
    assert not families["gather"]
    agrees(run_on_cpu, proto, np.array([0, 5, -1]))
