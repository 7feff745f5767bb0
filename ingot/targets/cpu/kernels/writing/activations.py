"""The functions of recurrent cells on a vector of float32. NaN gives NaN.

Bounds stand first in max and min, which lets a NaN through; see ``vector_math``.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx

from ingot.targets.relax.recurrence import Activation


def activate(function: Activation, x: tirx.Var) -> tirx.Expr:
    """Returns a function of a value, which is used several times."""
    return _FUNCTIONS[function.name](x, function.alpha, function.beta)


def clamp(x: tirx.Expr, bound: float) -> tirx.Expr:
    """Returns a value, drawn to the bounds where it lies outside of them."""
    return tirx.Min(_like(x, bound), tirx.Max(_like(x, -bound), x))


def _like(x: tirx.Expr, value: float) -> tirx.Expr:
    return tirx.const(value, x.ty.dtype)


def _elu(x: tirx.Expr, alpha: float, _: float) -> tirx.Expr:
    negative = (tirx.exp(x) - _like(x, 1.0)) * _like(x, alpha)
    return tirx.Select(x < _like(x, 0.0), negative, x)


def _hard_sigmoid(x: tirx.Expr, alpha: float, beta: float) -> tirx.Expr:
    line = x * _like(x, alpha) + _like(x, beta)
    return tirx.Min(_like(x, 1.0), tirx.Max(_like(x, 0.0), line))


def _softplus(x: tirx.Expr, _: float, __: float) -> tirx.Expr:
    """max(x, 0) + log(1 + e**-|x|), which overflows nowhere."""
    zero = _like(x, 0.0)
    return tirx.Max(zero, x) + tirx.log(_like(x, 1.0) + tirx.exp(-tirx.Max(x, -x)))


_FUNCTIONS: dict[str, Callable[[tirx.Expr, float, float], tirx.Expr]] = {
    "affine": lambda x, alpha, beta: x * _like(x, alpha) + _like(x, beta),
    "elu": _elu,
    "hardsigmoid": _hard_sigmoid,
    "leakyrelu": lambda x, alpha, _: tirx.Select(x < _like(x, 0.0), x * _like(x, alpha), x),
    "relu": lambda x, _, __: tirx.Max(_like(x, 0.0), x),
    "scaledtanh": lambda x, alpha, beta: tirx.tanh(x * _like(x, beta)) * _like(x, alpha),
    "sigmoid": lambda x, _, __: tirx.sigmoid(x),
    "softplus": _softplus,
    "softsign": lambda x, _, __: x / (_like(x, 1.0) + tirx.Max(x, -x)),
    "tanh": lambda x, _, __: tirx.tanh(x),
    "thresholdedrelu": lambda x, alpha, _: tirx.Select(x <= _like(x, alpha), _like(x, 0.0), x),
}
