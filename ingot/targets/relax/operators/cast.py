"""Conversion of element types, the ONNX operators ``Cast`` and ``CastLike``."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import tvm
from tvm import relax

from ingot.targets.relax.tvm_internals import convert_by_tvm

_CAST_SINCE, _CAST_LIKE_SINCE = 13, 15


def cast(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> Any:
    """Converts ``Cast``; what does not fit is as ``legalization.converted`` has it.

    Args:
        builder: The block builder to emit to.
        inputs: The data: a tensor, a shape or a dimension.
        attributes: ``to``: ONNX's number of the type.
    """
    data = inputs[0]
    if not _is_computed(data):
        return convert_by_tvm("Cast", _CAST_SINCE, builder, inputs, attributes)
    return relax.op.astype(data, ir.DataType(attributes["to"]).numpy().name)


def cast_like(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> Any:
    """Converts ``CastLike``.

    Args:
        builder: The block builder to emit to.
        inputs: The data, and a tensor of the type that it is to have.
        attributes: None that matter.
    """
    data, target = inputs
    if not (_is_computed(data) and isinstance(target.ty, relax.TensorType)):
        return convert_by_tvm("CastLike", _CAST_LIKE_SINCE, builder, inputs, attributes)
    return relax.op.astype(data, str(target.ty.dtype))


def _is_computed(data: Any) -> bool:
    return isinstance(data.ty, relax.TensorType) and not isinstance(data, tvm.ir.GenericConst)
