"""Replacing the calls of mathematical functions in a prim func by vector arithmetic."""

from __future__ import annotations

import re
from collections.abc import Callable

import tvm_ffi
from tvm import ir, tirx

from ingot.targets.cpu.floats import MAXIMUM, MINIMUM, propagating
from ingot.targets.cpu.vector_math import functions

_FUNCTIONS: dict[str, Callable[[tirx.Expr], tirx.Expr]] = {
    "tirx.exp": functions.exp,
    "tirx.exp2": functions.exp2,
    "tirx.log": functions.log,
    "tirx.sigmoid": functions.sigmoid,
    "tirx.tanh": functions.tanh,
    "tirx.erf": functions.erf,
    "tirx.rsqrt": functions.rsqrt,
}
_FLOAT32 = re.compile(r"float32(x\d+)?")


def replace_math_calls(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Replaces exp, exp2, log, sigmoid, tanh, erf, rsqrt and some powers of float32 by arithmetic.

    Scalar calls and calls on vectors (``float32xN``) are replaced alike, before or after the
    vectorization of loops. Calls on other types, and powers whose exponent is not one of
    ``functions.POWERS``, stay as they are. Call it last, on a function whose schedule is finished:
    inlining that copies an expression afterwards would copy the variables bound in it. Arguments
    are bound by ``tirx.Let``; where more than three calls are nested, turn these into statements
    first (``let_bindings``), because TVM's code generator writes bound values out at every use.

    Args:
        function: A prim func in any stage of lowering; it is not changed.

    Returns:
        The function with the calls replaced, its attributes kept.
    """
    body = tvm_ffi.structural_map(function.body, (ir.Call, _replacement), order="post")
    return function if body.same_as(function.body) else function.with_body(body)


def _replacement(call: ir.Call) -> tirx.Expr:
    """Returns arithmetic for a call that has one, and any other call unchanged."""
    if not isinstance(call.op, ir.Op):
        return call
    if call.op.name in (MAXIMUM, MINIMUM):
        return propagating(call)
    if not _is_float32(call):
        return call
    if call.op.name in _FUNCTIONS:
        return _FUNCTIONS[call.op.name](call.args[0])
    if call.op.name == "tirx.pow":
        exponent = _constant(call.args[1])
        if exponent in functions.POWERS:
            return functions.POWERS[exponent](call.args[0])
    return call


def _is_float32(call: ir.Call) -> bool:
    return isinstance(call.ty, ir.PrimType) and bool(_FLOAT32.fullmatch(str(call.ty.dtype)))


def _constant(expression: tirx.Expr) -> float | None:
    """Returns the value of a constant or of a vector that repeats one."""
    if isinstance(expression, tirx.Broadcast):
        expression = expression.value
    return float(expression.value) if isinstance(expression, tirx.FloatImm) else None
