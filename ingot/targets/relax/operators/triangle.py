"""The upper or lower triangle of matrices, the ONNX operator ``Trilu``."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, te, tirx

_FAR = tirx.IntImm("int64", 1 << 40)


def trilu(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Trilu``.

    Args:
        builder: The block builder to emit to.
        inputs: Matrices [*, N, M] of any type and, if there, which diagonal bounds the triangle (0,
            the main one), known or given when the model runs.
        attributes: ``upper`` (1).
    """
    data = inputs[0]
    given = inputs[1] if len(inputs) > 1 else None
    if given is None or isinstance(given, tvm.ir.GenericConst):
        diagonal = 0 if given is None else int(given.value.numpy().reshape(()))
        given = relax.const(diagonal, "int64")
    upper = bool(attributes.get("upper", 1))
    zero = tirx.const(0, str(data.ty.dtype))

    def compute(matrices: te.Tensor, number: te.Tensor) -> te.Tensor:
        first = [0] * len(number.shape)

        def element(*place: tirx.Var) -> tirx.Expr:
            row, column = (at.astype("int64") for at in place[-2:])
            # Beyond any matrix; the difference stays within 64 bits.
            bound = tirx.max(tirx.min(number(*first), _FAR), -_FAR)
            beyond = column - row - bound
            outside = beyond < 0 if upper else beyond > 0
            return tirx.Select(outside, zero, matrices(*place))

        return te.compute(matrices.shape, element, "triangle")

    return builder.emit_te(compute, data, given, primfunc_name_hint="trilu")
