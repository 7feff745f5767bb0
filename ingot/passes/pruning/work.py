"""What weights cost, as a number for each of their elements: parameters, or multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import onnx_ir as ir

from ingot.onnx_graph.matching import FLOATS

Work: TypeAlias = Mapping[ir.Value, float]
"""By weight, what each of its elements costs."""

_WINDOWS = frozenset({"Conv", "ConvTranspose"})
_PRODUCTS = frozenset({"Gemm", "MatMul"})


def parameters(weights: Sequence[ir.Value]) -> Work:
    """Each element of a float weight is one parameter."""
    return {value: float(value.dtype in FLOATS) for value in weights}


def multiply_adds(weights: Sequence[ir.Value]) -> Work:
    """Each element of a layer's weight is multiplied as often as the layer is moved over its input.

    A size that is open counts as one.
    """
    return {value: float(sum(_moves(use.node, value) for use in value.uses())) for value in weights}


def _moves(node: ir.Node, weight: ir.Value) -> int:
    if node.domain != "" or len(node.inputs) < 2 or node.inputs[1] is not weight:
        return 0
    moved = node.inputs[0] if node.op_type == "ConvTranspose" else node.outputs[0]
    shape = None if moved is None else moved.shape
    if shape is None:
        return int(node.op_type in _WINDOWS | _PRODUCTS)
    sizes = [size if isinstance(size, int) else 1 for size in shape]
    if node.op_type in _WINDOWS:
        return sizes[0] * math.prod(sizes[2:])
    return math.prod(sizes[:-1]) if node.op_type in _PRODUCTS else 0
