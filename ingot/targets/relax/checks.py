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

    The calls that check stay: no pass may drop unused calls from now on. They are made as soon as
    they can be, and sizes are known before what has them.
    """
    main = module["main"]
    checks = int((main.attrs or {}).get(CHECKS_ATTRIBUTE, 0))
    main = relax.transform.ToNonDataflow()(tvm.IRModule({"main": main}))["main"]
    body = main.body
    bindings = [binding for block in body.blocks for binding in block.bindings]
    kind = main.ret_ty
    result = body.body
    first: Sequence[relax.Expr] = ()
    if checks:
        kinds = list(kind.fields)[:-checks]
        fields = _fields(body, len(kind.fields))
        first, fields = fields[-checks:], fields[:-checks]
        single = len(fields) == 1
        result = fields[0] if single else relax.Tuple(fields)
        kind = kinds[0] if single else relax.TupleType(kinds)
    order = _order(bindings, first, main.params)
    if not checks and order == list(range(len(bindings))):
        return module
    module["main"] = relax.Function(
        main.params,
        relax.SeqExpr([relax.BindingBlock([bindings[at] for at in order])], result),
        kind,
        main.is_pure,
        main.attrs,
    )
    return module


def _order(
    bindings: Sequence[relax.Binding], first: Sequence[relax.Expr], params: Sequence[relax.Var]
) -> list[int]:
    """Orders bindings: what gives ``first`` as early as can be, each behind what it reads.

    Fusion moves kernels before checks that they rely on, and before sizes that they have.
    """
    given = {variable for param in params for variable in _variables(param.ty)}
    origin: dict[Any, int] = {}
    for at, binding in enumerate(bindings):
        origin.setdefault(binding.var, at)
        if isinstance(binding, relax.MatchCast):
            for variable in _variables(binding.ty):
                if variable not in given:
                    origin.setdefault(variable, at)
    order: dict[int, None] = {}
    begun: set[int] = set()
    left = [origin[check] for check in first if check in origin]
    left = [*range(len(bindings) - 1, -1, -1), *reversed(left)]
    while left:
        at = left[-1]
        if at in begun:
            order[left.pop()] = None
            continue
        begun.add(at)
        binding = bindings[at]
        read = {origin[each] for each in _read(binding) if each in origin} - begun
        left += sorted(read, reverse=True)
    return list(order)


def _read(binding: relax.Binding) -> list[Any]:
    return [*_variables(binding.value), *_variables(binding.var.ty)]


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
