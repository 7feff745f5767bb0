"""Which values compiled code can hold."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ingot.targets.relax.narrow_types import HELD_TYPES

# What compiled code can hold, by TVM's names.
TENSOR_DTYPES: Mapping[ir.DataType, str] = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.DOUBLE: "float64",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.INT8: "int8",
    ir.DataType.INT16: "int16",
    ir.DataType.INT32: "int32",
    ir.DataType.INT64: "int64",
    ir.DataType.UINT8: "uint8",
    ir.DataType.UINT16: "uint16",
    ir.DataType.UINT32: "uint32",
    ir.DataType.UINT64: "uint64",
    ir.DataType.BOOL: "bool",
    ir.DataType.BFLOAT16: "bfloat16",
    **{kind: held.numpy().name for kind, held in HELD_TYPES.items()},
}


def is_foreign(value: ir.Value) -> bool:
    """Whether compiled code cannot hold a value: no tensor of a type that it knows.

    An input of unknown rank is one: what it is for is known only when it is there.
    """
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        return True
    if value.is_graph_input() and value.shape is None and not value.is_initializer():
        return True
    return value.dtype not in TENSOR_DTYPES
