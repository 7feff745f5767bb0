"""Values that are known before the model runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, np.dtype[Any]]


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or a Constant node; None when the caller may feed the value."""
    if value is None or value.is_graph_input():
        return None
    if value.is_initializer():
        return value.const_value
    node = value.producer()
    if node is None or node.domain != "" or node.op_type != "Constant":
        return None
    (attribute,) = node.attributes.values()
    if attribute.is_ref() or attribute.type == ir.AttributeType.SPARSE_TENSOR:
        return None
    return ir.convenience.get_const_tensor(value)


def constant(value: ir.Value | None) -> Array | None:
    """The elements of a constant value; None when it is not constant."""
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def integers(value: ir.Value | None) -> list[int] | None:
    """A constant of integers, flat; None when it is not that."""
    array = constant(value)
    if array is None or array.dtype.kind not in "iu":
        return None
    return [int(element) for element in array.reshape(-1)]


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions, or None when it is unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def static_shape(value: ir.Value | None) -> list[int | None] | None:
    """The sizes, with None for those that are symbolic; None when the rank is unknown."""
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else None for dim in value.shape]
