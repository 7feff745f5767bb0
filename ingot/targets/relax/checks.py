"""Checks of inputs that compiled code makes when it runs.

While a module is optimized, ``main`` returns the outcome of each check, so that no pass drops one;
before its memory is planned, ``main`` returns the model's outputs alone.
"""

from __future__ import annotations

import tvm
from tvm import relax

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
    fields, kinds = _fields(body, len(kinds))[:-checks], kinds[:-checks]
    single = len(fields) == 1
    module["main"] = relax.Function(
        main.params,
        relax.SeqExpr(body.blocks, fields[0] if single else relax.Tuple(fields)),
        kinds[0] if single else relax.TupleType(kinds),
        main.is_pure,
        main.attrs,
    )
    return module


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
