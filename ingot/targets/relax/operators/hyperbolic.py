"""Hyperbolic sine and cosine, the ONNX operators ``Sinh`` and ``Cosh``.

Both are of e^(|x|/2), which does not overflow before the result does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

# The sine's powers x, x³, …, which leave less than a rounding of float64 below one.
_TERMS = 9


def cosh(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Cosh``.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: None are defined.
    """
    del attributes
    return _map(builder, inputs[0], lambda x: _half_sum(x, 1.0), "cosh")


def sinh(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Sinh``; below one by its series, as the exponentials would cancel.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: None are defined.
    """
    del attributes
    return _map(builder, inputs[0], _sinh, "sinh")


def _sinh(x: tirx.Expr) -> tirx.Expr:
    square = x * x
    series = _like(x, 0.0)
    for term in reversed(range(_TERMS)):
        series = series * square + _like(x, 1.0 / math.factorial(2 * term + 1))
    beyond = _half_sum(x, -1.0)
    signed = tirx.Select(x < _like(x, 0.0), _like(x, 0.0) - beyond, beyond)
    return tirx.Select(square < _like(x, 1.0), x * series, signed)


def _half_sum(x: tirx.Expr, sign: float) -> tirx.Expr:
    """Half of e^|x| and, with a sign, of e^-|x|."""
    root = tirx.exp(tirx.abs(x) * _like(x, 0.5))
    half = _like(x, 0.5)
    return root * (root * half) + _like(x, 0.5 * sign) / (root * root)


def _like(x: tirx.Expr, value: float) -> tirx.Expr:
    return tirx.const(value, str(x.ty.dtype))


def _map(
    builder: relax.BlockBuilder,
    data: relax.Expr,
    function: Callable[[tirx.Expr], tirx.Expr],
    name: str,
) -> relax.Expr:
    def compute(tensor: te.Tensor) -> te.Tensor:
        return te.compute(tensor.shape, lambda *place: function(tensor(*place)), name)

    return builder.emit_te(compute, data, primfunc_name_hint=name)
