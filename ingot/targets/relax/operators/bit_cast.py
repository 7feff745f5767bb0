"""The bits of one type read as another of the same size, the ONNX operator ``BitCast``."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError


def bit_cast(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``BitCast``.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``to``: the type whose bits they are.

    Raises:
        UnsupportedOperatorError: The types differ in size.
    """
    data = inputs[0]
    wanted = ir.DataType(attributes["to"])
    source, target = str(data.ty.dtype), wanted.numpy().name
    if target == source:
        return data
    if "bool" in (source, target):
        # A byte that is 0 or 1.
        if {source, target} <= {"bool", "int8", "uint8"}:
            return relax.op.astype(data, target)
        source = "uint8"
    if tirx.const(0, source).ty.dtype.itemsize * 8 != wanted.bitwidth:
        raise UnsupportedOperatorError(f"{source} and {target} differ in size")

    def compute(tensor: te.Tensor) -> te.Tensor:
        return te.compute(tensor.shape, lambda *at: tirx.reinterpret(target, tensor(*at)), "bits")

    return builder.emit_te(compute, data, primfunc_name_hint="bit_cast")
