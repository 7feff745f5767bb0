"""Floats as IEEE 754 has them, where TVM takes them for real numbers.

TVM's simplifier makes x of ``x + c - c``, 0 of ``x - x`` and of ``x * 0``, true of ``x == x``, and
``b <= a`` of ``not (a < b)``: right for indices, wrong where rounding, NaN or infinities are about.
And its maximum is ``select(a > b, a, b)``: one instruction, which gives its second operand when
either is NaN. So prim funcs are rewritten before schedules take them up:

* What the simplifier would reason about is put into calls of ``ingot.opaque``, which it knows
  nothing of. They are taken away when its passes are through.
* A maximum or minimum with a constant has the constant first, which lets NaN through at no cost.
  Of two values it becomes ``ingot.maximum`` or ``ingot.minimum``, in the end two instructions more.
* Where a reduction begins with the lowest float, it begins with the infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.tirx import stmt as statements

from ingot.targets.relax.tvm_internals import register_operator

OPAQUE = "ingot.opaque"
MAXIMUM = "ingot.maximum"
MINIMUM = "ingot.minimum"

# TVM's kinds of effects. What is said to read memory is not copied to where it is used.
_PURE, _READS = 1, 2
for _name, _effect, _description in (
    (OPAQUE, _READS, "Its operand, which the simplifier cannot look into."),
    (MAXIMUM, _PURE, "The larger operand, NaN where either is."),
    (MINIMUM, _PURE, "The smaller operand, NaN where either is."),
):
    register_operator(_name, _description)
    ir.register_op_attr(_name, "TCallEffectKind", _effect)
    ir.register_op_attr(_name, "TVectorizable", True)
    ir.register_op_attr(_name, "TScriptPrinterName", _name)

_HIGHEST = {
    kind: float(np.finfo(kind).max) for kind in ("float16", "float32", "float64")
} | {"bfloat16": 3.3895313892515355e38}  # fmt: skip


def opaque(value: tirx.Expr) -> tirx.Expr:
    """Returns a value that TVM's simplifier and analyzer know nothing of; it costs nothing."""
    return tirx.call_intrin(value.ty, OPAQUE, value)


def bindable(value: tirx.Expr) -> tirx.Expr:
    """Returns a value as a variable in a vector loop can be bound to it.

    TVM's analyzer looks into what variables are bound to, and fails on vectors of integers and of
    truths there.
    """
    kinds = (tirx.Cast, tirx.Select, tirx.Not, tirx.And, tirx.Or, tirx.LT, tirx.LE, tirx.GT,
             tirx.GE, tirx.EQ, tirx.NE)  # fmt: skip
    found: list[tirx.Expr] = []
    tvm_ffi.structural_walk(value, (kinds, found.append))
    return opaque(value) if found or not is_float(value.ty) else value


def maximum(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    """Returns the larger of two floats, scalars or vectors; NaN where either is NaN."""
    return _extremum(tirx.Max, MAXIMUM, a, b)


def minimum(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    """Returns the smaller of two floats, scalars or vectors; NaN where either is NaN."""
    return _extremum(tirx.Min, MINIMUM, a, b)


def _extremum(node: Any, operator: str, a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    if is_number(a):
        return node(a, b)
    if is_number(b):
        return node(b, a)
    return tirx.call_intrin(a.ty, operator, a, b)


def is_number(expression: tirx.Expr) -> bool:
    """Whether an expression is a constant, or a vector of one, and not NaN."""
    if isinstance(expression, tirx.Broadcast):
        expression = expression.value
    return isinstance(expression, tirx.FloatImm) and not math.isnan(float(expression.value))


def propagating(call: ir.Call) -> tirx.Expr:
    """Returns what ``ingot.maximum`` and ``ingot.minimum`` stand for, for TVM's code generator."""
    a, b = call.args
    first = tirx.Var("first", a.ty)
    node = tirx.Max if call.op.name == MAXIMUM else tirx.Min
    # Were it the first operand itself, LLVM would join both choices to one of four instructions.
    nan = tirx.const(math.nan, a.ty.dtype)
    return tirx.Let(first, a, tirx.Select(tirx.isnan(first), nan, node(first, b)))


def is_float(kind: Any) -> bool:
    """Whether a type is of floats, scalars or vectors."""
    return isinstance(kind, ir.PrimType) and "float" in str(kind.dtype)


def keep_floats(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module, its prim funcs computing with floats as IEEE 754 has them.

    Functions that schedules have written are left as they are.
    """
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and not _is_written(function):
            body = tvm_ffi.structural_map(function.body, _RULES, order="post")
            if not body.same_as(function.body):
                module[name] = function.with_body(body)
    return module


def _is_written(function: tirx.PrimFunc) -> bool:
    return bool((function.attrs or {}).get("tirx.is_scheduled", False))


def _larger(node: tirx.Max) -> tirx.Expr:
    return maximum(node.a, node.b) if is_float(node.ty) else node


def _smaller(node: tirx.Min) -> tirx.Expr:
    return minimum(node.a, node.b) if is_float(node.ty) else node


def _difference(node: tirx.Sub) -> tirx.Expr:
    return tirx.Sub(node.a, opaque(node.b)) if is_float(node.ty) else node


def _product(node: Any) -> tirx.Expr:
    """Of ``0 * x``, ``x * 0`` and ``0 / x`` the simplifier makes 0."""
    if not is_float(node.ty):
        return _division(node) if isinstance(node, tirx.Div) else node
    a, b = (opaque(side) if _is_zero(side) else side for side in (node.a, node.b))
    return node if a is node.a and b is node.b else type(node)(a, b)


def _sum(node: tirx.Add) -> tirx.Expr:
    """Of ``x + 0`` it makes x, which is not the same for -0."""
    return _product(node)


def _is_zero(expression: tirx.Expr) -> bool:
    return isinstance(expression, tirx.FloatImm) and float(expression.value) == 0


def _equality(node: Any) -> tirx.Expr:
    """TVM's inequality is false for NaN."""
    if not is_float(node.a.ty):
        return node
    equal = tirx.EQ(node.a, opaque(node.b))
    return equal if isinstance(node, tirx.EQ) else tirx.Not(opaque(equal))


def _division(node: Any) -> tirx.Expr:
    """Of ``x * 6 // 3`` the simplifier makes ``x * 2``, as if products did not wrap."""
    return type(node)(opaque(node.a), node.b) if _reads(node.a) else node


def _negation(node: tirx.Not) -> tirx.Expr:
    """Conditions on positions are left to the simplifier, which decides them."""
    return tirx.Not(opaque(node.a)) if _reads(node.a) else node


def _reads(expression: tirx.Expr) -> bool:
    loads: list[tirx.Expr] = []
    tvm_ffi.structural_walk(expression, (ir.TensorLoad, loads.append))
    return bool(loads)


def _begin_at_infinity(block: s_tir.SBlock) -> s_tir.SBlock:
    """TVM's maximum begins with the lowest float, above minus infinity; its minimum likewise."""
    start, update = block.init, block.body
    if not all(isinstance(part, statements.BufferStore) for part in (start, update)):
        return block
    value, kind = start.value, str(start.value.ty.dtype)
    sign = _direction(update.value)
    if not sign or not isinstance(value, tirx.FloatImm) or kind not in _HIGHEST:
        return block
    if float(value.value) != -sign * _HIGHEST[kind]:
        return block
    infinity = tirx.const(-sign * math.inf, kind)
    return s_tir.SBlock(
        block.iter_vars, block.reads, block.writes, block.name_hint, update,
        statements.BufferStore(start.buffer, infinity, start.indices),
        block.alloc_buffers, block.match_buffers, block.annotations,
    )  # fmt: skip


def _direction(expression: tirx.Expr) -> float:
    """1 for a maximum, -1 for a minimum, 0 for anything else."""
    name = getattr(getattr(expression, "op", None), "name", "")
    if isinstance(expression, tirx.Max) or name == MAXIMUM:
        return 1.0
    return -1.0 if isinstance(expression, tirx.Min) or name == MINIMUM else 0.0


_RULES: list[tuple[Any, Callable[[Any], Any]]] = [
    (tirx.Max, _larger),
    (tirx.Min, _smaller),
    (tirx.Sub, _difference),
    (tirx.Add, _sum),
    ((tirx.Mul, tirx.Div), _product),
    ((tirx.EQ, tirx.NE), _equality),
    (tirx.Not, _negation),
    ((tirx.Mod, tirx.FloorDiv, tirx.FloorMod), _division),
    (s_tir.SBlock, _begin_at_infinity),
]
