"""Chains of operators that limit their input from below or above by constants."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import Unfit, commuted, read_once, scalar

_CLAMPS = ("Relu", "Clip", "Min", "Max")


@dataclasses.dataclass(frozen=True)
class Clamp:
    """``min(max(slope * x + offset, low), high)``, and the nodes that compute it from x."""

    x: ir.Value
    low: float
    high: float
    nodes: frozenset[ir.Node]
    slope: float = 1.0
    offset: float = 0.0

    @classmethod
    def of_hard_sigmoid(cls, node: ir.Node) -> Clamp:
        """The clamp that a HardSigmoid node computes."""
        x = node.inputs[0]
        if x is None:
            raise Unfit("its input is missing")
        slope = node.attributes.get_float("alpha", 0.2)
        offset = node.attributes.get_float("beta", 0.5)
        return cls(x, 0.0, 1.0, frozenset({node}), slope, offset)

    def bound(self, value: float, dtype: ir.DataType | None) -> npt.NDArray[Any]:
        """A bound as a scalar of the input's element type."""
        return np.asarray(value, dtype=(dtype or ir.DataType.FLOAT).numpy())


def clamp_chain(node: ir.Node) -> Clamp | None:
    """The longest chain of clamps that ends in a node, as one clamp.

    Returns:
        The clamp, with slope one, or None if the node is no clamp by constants.
    """
    found = _read(node)
    if found is None:
        return None
    x, low, high = found
    nodes = {node}
    while read_once(x):
        before = x.producer()
        inner = _read(before) if before is not None else None
        if before is None or inner is None:
            break
        # Only limits that the outer clamp leaves standing count: clamp(clamp(x)).
        x = inner[0]
        inner_low, inner_high = inner[1], inner[2]
        low, high = _limited(inner_low, low, high), _limited(inner_high, low, high)
        nodes.add(before)
    return Clamp(x, low, high, frozenset(nodes))


def _limited(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _read(node: ir.Node) -> tuple[ir.Value, float, float] | None:
    """Input, lower and upper limit of one node; limits in the wrong order are left alone."""
    if node.domain != "" or node.op_type not in _CLAMPS or not node.inputs:
        return None
    x = node.inputs[0]
    if node.op_type == "Relu":
        return None if x is None else (x, 0.0, math.inf)
    if node.op_type in ("Min", "Max"):
        if len(node.inputs) != 2:
            return None
        for operand, limit in commuted(node):
            value = scalar(limit)
            if value is not None and not math.isnan(value):
                is_max = node.op_type == "Max"
                return (operand, value, math.inf) if is_max else (operand, -math.inf, value)
        return None
    low, high = _clip_limit(node, 1, "min", -math.inf), _clip_limit(node, 2, "max", math.inf)
    if x is None or low is None or high is None or not low <= high:
        return None
    return x, low, high


def _clip_limit(node: ir.Node, position: int, attribute: str, default: float) -> float | None:
    if attribute in node.attributes:  # up to opset 10
        return node.attributes[attribute].as_float()
    if len(node.inputs) <= position or node.inputs[position] is None:
        return default
    return scalar(node.inputs[position])
