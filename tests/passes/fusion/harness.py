"""What the tests of the fusion passes share: graphs from text, and the two ways a pass can go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper
from onnx_ir.passes.common import NameFixPass

from ingot.compiler.verification import ReferenceCheck
from ingot.passes.base import PassOutcome
from ingot.passes.fusion.rewriting import FusionPass
from ingot.passes.invariants import Interface, check_graph, check_operators

OPSET = 23


def graph(
    signature: str, body: str, weights: Mapping[str, Any] | None = None, *, opset: int = OPSET
) -> ir.Model:
    """A model from ONNX's textual syntax, shapes inferred and all nodes named.

    Args:
        signature: ``(float[N, 3] x) => (float[N, 3] y)``.
        body: One node per line.
        weights: Initializers by name; Python floats become float32 scalars, ints int64.
        opset: Version of the default operator set.
    """
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": {opset}]> g {signature} {{ {body} }}'
    )
    for name, value in (weights or {}).items():
        if isinstance(value, float):
            value = np.float32(value)
        if isinstance(value, (int, list)):
            value = np.array(value, np.int64)
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    NameFixPass()(model)
    return model


def operators(model: ir.Model) -> list[str]:
    """Operators of the main graph, in order; constants do not count."""
    return [node.op_type for node in model.graph if node.op_type != "Constant"]


def fuse(
    cls: type[FusionPass],
    model: ir.Model,
    *,
    applied: int = 1,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> PassOutcome:
    """Runs a pass that must apply, and checks all that must hold then.

    The graph is valid, keeps its interface, and computes the same within the pass's tolerance, as
    ONNX Runtime without optimizations computes it. A second run finds nothing.
    """
    before = model.clone()
    outcome = cls()(model)
    assert (outcome.applied, outcome.modified) == (applied, True), outcome.declined
    check_graph(model)
    check_operators(model)
    Interface.of(before).check_kept(model)
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)
    check = ReferenceCheck([inputs]) if inputs else ReferenceCheck.for_model(before)
    check.compare(before, model, cls.tolerance, pass_name=cls.name)
    assert cls()(model.clone()).applied == 0
    return outcome


def leave(cls: type[FusionPass], model: ir.Model, reason: str | None = None) -> None:
    """Runs a pass that must not apply.

    Args:
        cls: The pass.
        model: Must stay as it is.
        reason: A pattern that a reason must match; None if the pass must not give any.
    """
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    outcome = cls()(model)
    assert (outcome.applied, outcome.modified) == (0, False)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    reasons = [declined.reason for declined in outcome.declined]
    if reason is None:
        assert reasons == []
    else:
        assert any(re.search(reason, text) for text in reasons), reasons
        node_names = {node.name for node in model.graph}
        assert {declined.node for declined in outcome.declined} <= node_names


def attribute(model: ir.Model, op_type: str, name: str) -> Any:
    """An attribute of the only node of an operator."""
    (node,) = (node for node in model.graph if node.op_type == op_type)
    return node.attributes[name].value


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
