"""What a manifest says of the inputs and outputs of a graph."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir

from ingot.onnx_graph.protos import map_type
from ingot.runtime.manifest import TensorSpec
from ingot.targets.relax.types import is_foreign

# ONNX Runtime's names of element types, where they are not ONNX's in small letters.
_ELEMENTS = {ir.DataType.FLOAT: "float", ir.DataType.DOUBLE: "double"}


def tensor_specs(values: Sequence[ir.Value], *, in_code: bool = True) -> tuple[TensorSpec, ...]:
    """Returns the specs of a graph's inputs or outputs; an unknown dimension gets a symbol.

    Args:
        values: The values; an input that has a default is left out.
        in_code: Whether compiled code takes what it can hold of them; else a region is all.
    """
    return tuple(
        _spec(value, in_code and not is_foreign(value))
        for value in values
        if not (value.is_graph_input() and value.is_initializer())
    )


def _spec(value: ir.Value, in_code: bool) -> TensorSpec:
    name = str(value.name)
    is_tensor = isinstance(value.type, ir.TensorType)
    if not is_tensor or value.shape is None or value.dtype is None:
        dtype = "" if value.dtype is None or not is_tensor else value.dtype.numpy().name
        return TensorSpec(name, dtype, (), in_code=in_code, onnx_type=_kind(value))
    shape = tuple(
        dimension if isinstance(dimension, int) else dimension.value or f"{name}_{axis}"
        for axis, dimension in enumerate(value.shape)
    )
    return TensorSpec(name, value.dtype.numpy().name, shape, in_code)


def _kind(value: ir.Value) -> str:
    stored = map_type(value)
    return _described(value.type) if stored is None else _described_map(stored)


def _described_map(kind: onnx.TypeProto) -> str:
    if kind.HasField("sequence_type"):
        return f"seq({_described_map(kind.sequence_type.elem_type)})"
    if kind.HasField("map_type"):
        key = ir.DataType(kind.map_type.key_type).name.lower()
        return f"map({key},{_described_map(kind.map_type.value_type)})"
    return _described(ir.TensorType(ir.DataType(kind.tensor_type.elem_type)))


def _described(kind: ir.TypeProtocol | None) -> str:
    """A type as ONNX Runtime writes it."""
    if isinstance(kind, ir.SequenceType):
        return f"seq({_described(kind.elem_type)})"
    if isinstance(kind, ir.OptionalType):
        return f"optional({_described(kind.elem_type)})"
    if kind is None:
        return "unknown"
    element = _ELEMENTS.get(kind.dtype, kind.dtype.name.lower())
    return f"{'sparse_tensor' if isinstance(kind, ir.SparseTensorType) else 'tensor'}({element})"
