"""Checks of inputs that compiled code makes when it runs.

While a module is optimized, ``main`` returns the outcome of each check, so that no pass drops one;
before its memory is planned, ``main`` returns the model's outputs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, relax

from ingot.targets.relax.builder import CHECKS_ATTRIBUTE


def without_check_results(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module with the outcome of checks no longer among the results of ``main``.

    The calls that check stay: no pass may drop unused calls from now on.
    """
    main = module["main"]
    checks = int((main.attrs or {}).get(CHECKS_ATTRIBUTE, 0))
    if not checks:
        return module
    main = relax.transform.ToNonDataflow()(tvm.IRModule({"main": main}))["main"]
    body = main.body
    kinds = list(main.ret_ty.fields)
    fields, kinds = _fields(body, len(kinds)), kinds[:-checks]
    ordered = _with_checks_first(body, fields[-checks:])
    fields = fields[:-checks]
    single = len(fields) == 1
    module["main"] = relax.Function(
        main.params,
        relax.SeqExpr(ordered, fields[0] if single else relax.Tuple(fields)),
        kinds[0] if single else relax.TupleType(kinds),
        main.is_pure,
        main.attrs,
    )
    return module


def _with_checks_first(
    body: relax.SeqExpr, checks: Sequence[relax.Expr]
) -> list[relax.BindingBlock]:
    """Orders bindings so that each check is made as soon as it can be.

    Fusion moves kernels before checks that they rely on.
    """
    bindings = [binding for block in body.blocks for binding in block.bindings]
    origin: dict[Any, int] = {}
    for at, binding in enumerate(bindings):
        origin.setdefault(binding.var, at)
        if isinstance(binding, relax.MatchCast):
            for variable in _variables(binding.ty):
                origin.setdefault(variable, at)
    order: dict[int, None] = {}
    for check in checks:
        needed: set[int] = set()
        left = [origin[check]] if check in origin else []
        while left:
            at = left.pop()
            if at in needed or at in order:
                continue
            needed.add(at)
            binding = bindings[at]
            read = (*_variables(binding.value), *_variables(binding.var.ty))
            left += [origin[each] for each in read if origin.get(each, at) < at]
        order.update(dict.fromkeys(sorted(needed)))
    order.update(dict.fromkeys(range(len(bindings))))
    return [relax.BindingBlock([bindings[at] for at in order])]


def _variables(value: Any) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(value, (ir.Var, found.append))
    return found


def _fields(body: relax.SeqExpr, count: int) -> list[relax.Expr]:
    """Returns what ``main`` returns, one by one."""
    values = {
        binding.var: binding.value
        for block in body.blocks
        for binding in block.bindings
        if isinstance(binding, relax.VarBinding)
    }
    result = body.body
    while result in values and isinstance(values[result], (relax.Var, relax.Tuple)):
        result = values[result]
    if isinstance(result, relax.Tuple):
        return list(result.fields)
    return [relax.TupleGetItem(result, at) for at in range(count)]
