"""Outputs own their memory: what would be a view of something that outlives the run is copied.

An output that is an input, or a reshape of one, would change when the caller fills that buffer
again; one that is a weight or a constant would lie in the artifact's own memory, and two outputs of
one value in each other's.
"""

from __future__ import annotations

import tvm
from tvm import relax, topi

_VIEWS = frozenset({"relax.reshape", "relax.memory.view", "relax.memory.ensure_zero_copy"})


def copy_borrowed_outputs(module: tvm.IRModule) -> tvm.IRModule:
    """Copies each output of ``main`` whose memory is not its own.

    Args:
        module: A module whose operators have become kernels, reshapes excepted, and whose weights
            are still constants.
    """
    function = module["main"]
    body = function.body
    fields = _fields(body.body.ty)
    owners: set[tuple[relax.Expr, int]] = set()
    borrowed = []
    definitions = _definitions(function)
    for index in range(len(fields)):
        owner = _owner(_output(body.body, index, definitions), definitions)
        fresh = isinstance(definitions.get(owner[0]), relax.Call) and owner not in owners
        borrowed.append(not fresh)
        owners.add(owner)
    if not any(borrowed):
        return module
    builder = relax.BlockBuilder(module)
    single = not isinstance(body.body.ty, relax.TupleType)
    bindings, results = [], []
    for index, copied in enumerate(borrowed):
        value = body.body if single else relax.TupleGetItem(body.body, index)
        variable = relax.Var(f"output_{index}", fields[index])
        bindings.append(relax.VarBinding(variable, value))
        if copied:
            source = variable
            call = builder.call_te(topi.identity, source, primfunc_name_hint="copy")
            variable = relax.Var(f"copy_{index}", fields[index])
            bindings.append(relax.VarBinding(variable, call))
        results.append(variable)
    result = results[0] if single else relax.Tuple(results)
    blocks = [*body.blocks, relax.BindingBlock(bindings)]
    module = builder.get()
    module["main"] = relax.Function(
        function.params,
        relax.SeqExpr(blocks, result),
        function.ret_ty,
        function.is_pure,
        function.attrs,
    )
    return module


def _fields(ty: relax.Type) -> list[relax.Type]:
    return list(ty.fields) if isinstance(ty, relax.TupleType) else [ty]


def _definitions(function: relax.Function) -> dict[relax.Expr, relax.Expr]:
    """What each variable of the function's own blocks is bound to."""
    return {
        binding.var: binding.value for block in function.body.blocks for binding in block.bindings
    }


def _output(body: relax.Expr, index: int, definitions: dict[relax.Expr, relax.Expr]) -> relax.Expr:
    if not isinstance(body.ty, relax.TupleType):
        return body
    while body in definitions and isinstance(definitions[body], (relax.Var, relax.Tuple)):
        body = definitions[body]
    return body.fields[index] if isinstance(body, relax.Tuple) else body


def _owner(value: relax.Expr, definitions: dict[relax.Expr, relax.Expr]) -> tuple[relax.Expr, int]:
    """The variable that a value is a view of, or the value itself, and which of its fields."""
    while True:
        definition = definitions.get(value)
        if isinstance(definition, relax.TupleGetItem):
            whole = _output(definition.tuple_value, definition.index, definitions)
            if whole.same_as(definition.tuple_value):
                return whole, definition.index
            value = whole
        elif isinstance(definition, (relax.Var, relax.DataflowVar, tvm.ir.GenericConst)):
            value = definition
        elif isinstance(definition, relax.Call) and _is_view(definition):
            value = definition.args[0]
        else:
            return value, 0


def _is_view(call: relax.Call) -> bool:
    return getattr(call.op, "name", "") in _VIEWS
