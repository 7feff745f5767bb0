"""Element types that code holds in others: floats below 16 and integers below 8 bits, in bytes.

What moves elements needs not know; what computes with them has to be told the types, which the
graph states and Relax does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from ingot.errors import UnsupportedOperatorError
from ingot.runtime.narrow_types import HELD_AS

Array = np.ndarray[Any, np.dtype[Any]]

# ONNX's types by what code holds them in.
HELD_TYPES: Mapping[ir.DataType, ir.DataType] = {
    kind: ir.DataType.INT8 if HELD_AS[kind.numpy().name] == "int8" else ir.DataType.UINT8
    for kind in ir.DataType
    if kind not in (ir.DataType.UNDEFINED, ir.DataType.STRING) and kind.numpy().name in HELD_AS
}
# Operators that move elements as they are.
_MOVES = frozenset({
    "Compress", "Concat", "ConstantOfShape", "DepthToSpace", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "Identity", "If", "Pad", "Reshape", "Shape", "Size", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
# Types that code has nothing for.
_UNHELD = frozenset({
    ir.DataType.STRING, ir.DataType.COMPLEX64, ir.DataType.COMPLEX128, ir.DataType.FLOAT8E8M0,
    ir.DataType.FLOAT6E2M3, ir.DataType.FLOAT6E3M2,
})  # fmt: skip


@dataclasses.dataclass(frozen=True)
class NodeTypes:
    """The element types of a node's inputs and outputs, None where one is not known."""

    inputs: tuple[ir.DataType | None, ...]
    outputs: tuple[ir.DataType | None, ...]

    @property
    def has_narrow(self) -> bool:
        """Whether one of them is held in another type."""
        return any(kind in HELD_TYPES for kind in (*self.inputs, *self.outputs))


def node_types(node: ir.Node) -> NodeTypes:
    """Returns a node's element types."""
    inputs = tuple(None if value is None else value.dtype for value in node.inputs)
    return NodeTypes(inputs, tuple(value.dtype for value in node.outputs))


def unheld_type(node: ir.Node) -> str | None:
    """Returns a type of a node's inputs and outputs that code has nothing for, or None."""
    for value in (*node.inputs, *node.outputs):
        if value is None:
            continue
        if value.type is not None and not isinstance(value.type, ir.TensorType):
            return "a sequence or an optional"
        if value.is_graph_input() and value.shape is None and not value.is_initializer():
            return "a tensor of unknown rank"
        if value.dtype in _UNHELD:
            return str(value.dtype).lower()
    return None


def require_movement(operator: str) -> None:
    """Refuses an operator that computes with what it would see as bytes.

    Raises:
        UnsupportedOperatorError: It does more than to move elements.
    """
    if operator not in _MOVES:
        raise UnsupportedOperatorError("it is not lowered for floats and integers below a byte")


def held_array(array: Array) -> Array:
    """Returns an array as code holds it."""
    name = array.dtype.name
    if name not in HELD_AS:
        return array
    held = np.dtype(HELD_AS[name])
    return array.view(held) if name.startswith("float") else array.astype(held)
