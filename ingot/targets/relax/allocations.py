"""Sizes of memory that do not wrap around.

A size is computed in integers of 64 bits from dimensions that a caller may give as he likes. Where
their product is more than those hold, what is left of it would be allocated, and written past.
"""

from __future__ import annotations

from typing import Any

import tvm
import tvm_ffi
from tvm import ir, relax, tirx

_ALLOCATION = "relax.memory.alloc_storage"
# Bytes: more than any machine has.
_MOST = float(1 << 46)
# Bytes that no allocator gives, so that the call fails; as bits they still fit into 64.
_NONE = 1 << 58
_ARITHMETIC = (tirx.Add, tirx.Sub, tirx.Mul)


def bounded_allocations(module: tvm.IRModule) -> tvm.IRModule:
    """Has allocations fail whose size is negative or does not fit into 64 bits."""
    for name, function in module.functions_items():
        if isinstance(function, relax.Function):
            bounded = tvm_ffi.structural_map(function, (ir.Call, _bounded))
            if not bounded.same_as(function):
                module[name] = bounded
    return module


def _bounded(call: ir.Call) -> ir.Call:
    if getattr(call.op, "name", "") != _ALLOCATION:
        return call
    shape = call.args[0]
    (size,) = shape.values
    if isinstance(size, tirx.IntImm):
        return call
    exact = _in_floats(size)
    fits = tirx.all(exact >= tirx.const(0.0, "float64"), exact <= tirx.const(_MOST, "float64"))
    bytes_ = tirx.Select(fits, size, tirx.IntImm("int64", _NONE))
    arguments = [relax.ShapeExpr([bytes_]), *list(call.args)[1:]]
    return relax.Call(call.op, arguments, call.attrs, call.ty_args)


def _in_floats(size: Any) -> tirx.Expr:
    """Returns the size as a float64, its sums and products computed in floats."""
    if isinstance(size, _ARITHMETIC):
        return type(size)(_in_floats(size.a), _in_floats(size.b))
    return tirx.Cast("float64", size)
