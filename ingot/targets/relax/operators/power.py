"""Powers of numbers of any type, the ONNX operator ``Pow``."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from ingot.targets.relax.tvm_internals import convert_by_tvm

_SINCE = 7
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def power(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Pow``: the result is of the base's type.

    Where a type is an integer's, both are taken for float64, and what comes out is cut off: as ONNX
    Runtime does. A constant exponent is taken for one of the base's type.

    Args:
        builder: The block builder to emit to.
        inputs: The base and the exponent, broadcast to each other.
        attributes: None are defined.
    """
    base, exponent = inputs
    kinds = [str(operand.ty.dtype) for operand in inputs]
    if kinds[0] == kinds[1] and kinds[0] in _FLOATS:
        return convert_by_tvm("Pow", _SINCE, builder, inputs, attributes)
    if isinstance(exponent, tvm.ir.GenericConst) and kinds[0] in _FLOATS:
        exponent = relax.const(exponent.value.numpy().astype(kinds[0]), kinds[0])
        return convert_by_tvm("Pow", _SINCE, builder, [base, exponent], attributes)
    wide = [builder.emit(relax.op.astype(operand, "float64")) for operand in inputs]
    return relax.op.astype(builder.emit(relax.op.power(*wide)), kinds[0])
