"""Operands that ONNX Runtime reads without looking whether they are there, or how many they are."""

from __future__ import annotations

import functools
import math

import onnx
import onnx_ir as ir

from ingot.errors import ModelError

# Positions of a trip count or a condition, which are one element.
_SINGLE = {"If": (0,), "Loop": (0, 1)}
_VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic


def check_operands(model: ir.Model, name: str) -> None:
    """Checks that operands are there, and trip counts and conditions whose shapes are known.

    Args:
        model: The model, shapes inferred.
        name: What to call it in messages.

    Raises:
        ModelError: One is missing, or has no element, or several; names the node.
    """
    # A version beyond what this onnx knows, or no number of one, is objected to elsewhere.
    opset = max(1, min(model.opset_imports.get("", 1), onnx.defs.onnx_opset_version()))
    for graph in model.graphs():
        for node in graph:
            if node.domain:
                continue
            _require_inputs(node, _first_of_many(node.op_type, opset), name)
            for position in _SINGLE.get(node.op_type, ()):
                value = node.inputs[position] if position < len(node.inputs) else None
                if value is not None:
                    _require_one(node, position, value.shape, name)


def _require_inputs(node: ir.Node, first: int | None, name: str) -> None:
    """Checks that none of any number of operands is left out; ONNX Runtime checks single ones."""
    for position, value in enumerate(node.inputs):
        if value is None and first is not None and position >= first:
            raise ModelError(
                f"{name} is damaged: node {node.name!r} ({node.op_type}) needs its input "
                f"{position}, which is left out"
            )


def _require_one(node: ir.Node, position: int, shape: ir.Shape | None, name: str) -> None:
    if shape is None or not all(isinstance(size, int) for size in shape):
        return
    if math.prod(shape.numpy()) != 1:
        raise ModelError(
            f"{name} is damaged: node {node.name!r} ({node.op_type}) takes one element as its "
            f"input {position}, which is of shape {shape}"
        )


@functools.cache
def _first_of_many(operator: str, opset: int) -> int | None:
    """The position from which on an operator takes any number of operands; None if it does not."""
    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None
    last = len(schema.inputs) - 1
    return last if last >= 0 and schema.inputs[last].option == _VARIADIC else None
