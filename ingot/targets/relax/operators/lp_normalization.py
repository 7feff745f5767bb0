"""Division by a norm, the ONNX operator ``LpNormalization``."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError


def lp_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``LpNormalization``: rows divided by their norms; a row of zeros stays one.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``axis`` along which the rows go (the last), ``p``: 1 or 2 (2).

    Raises:
        UnsupportedOperatorError: ``p`` is neither 1 nor 2.
    """
    data = inputs[0]
    axis, order = attributes.get("axis", -1), attributes.get("p", 2)
    if order not in (1, 2):
        raise UnsupportedOperatorError(f"LpNormalization with p={order} is not defined")
    sizes = relax.op.abs(data) if order == 1 else relax.op.multiply(data, data)
    norm = builder.emit(relax.op.sum(builder.emit(sizes), axis=axis, keepdims=True))
    if order == 2:
        norm = builder.emit(relax.op.sqrt(norm))
    zero = relax.const(0, str(data.ty.dtype))
    quotient = builder.emit(relax.op.divide(data, norm))
    return relax.op.where(builder.emit(relax.op.equal(norm, zero)), zero, quotient)
