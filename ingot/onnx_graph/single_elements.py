"""Operands that have to be one element, which ONNX Runtime reads without counting them."""

from __future__ import annotations

import math

import onnx_ir as ir

from ingot.errors import ModelError

# Positions of a trip count or a condition.
_SINGLE = {"If": (0,), "Loop": (0, 1)}


def check_single_elements(model: ir.Model, name: str) -> None:
    """Checks trip counts and conditions whose shapes are known.

    Args:
        model: The model, shapes inferred.
        name: What to call it in messages.

    Raises:
        ModelError: One has no element, or several; names the node.
    """
    for graph in model.graphs():
        for node in graph:
            if node.domain:
                continue
            for position in _SINGLE.get(node.op_type, ()):
                value = node.inputs[position] if position < len(node.inputs) else None
                shape = None if value is None else value.shape
                if shape is None or not all(isinstance(size, int) for size in shape):
                    continue
                if math.prod(shape.numpy()) != 1:
                    raise ModelError(
                        f"{name} is damaged: node {node.name!r} ({node.op_type}) takes one element "
                        f"as its input {position}, which is of shape {shape}"
                    )
