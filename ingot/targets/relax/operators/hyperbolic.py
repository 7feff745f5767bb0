"""The hyperbolic cosine, the ONNX operator ``Cosh``."""

from __future__ import annotations

from typing import Any

from tvm import relax


def cosh(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Cosh``: of e^(|x|/2), which does not overflow before the result does.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: None are defined.
    """
    del attributes
    (data,) = inputs
    half = relax.const(0.5, str(data.ty.dtype))
    halved = builder.emit(relax.op.multiply(builder.emit(relax.op.abs(data)), half))
    root = builder.emit(relax.op.exp(halved))
    rising = builder.emit(relax.op.multiply(root, builder.emit(relax.op.multiply(root, half))))
    square = builder.emit(relax.op.multiply(root, root))
    return relax.op.add(rising, builder.emit(relax.op.divide(half, square)))
