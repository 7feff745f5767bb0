"""Calls of what runs outside of the compiled code: regions of the graph, by name.

A region is one node of the domain ``ingot.region`` whose operator is the region's name. In Relax it
is a call of an operator of its own, which passes that divide a module leave alone, until
:func:`host_region_calls` makes calls of the session's functions of them. What a region returns has
sizes that the code has not computed itself: they are checked before anything reads them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
import tvm
from tvm import relax, tirx

from ingot.runtime.manifest import REGION_PREFIX
from ingot.targets.relax.tvm_internals import register_operator
from ingot.targets.relax.types import TENSOR_DTYPES

DOMAIN = "ingot.region"


@functools.cache
def typed_operator(name: str, description: str) -> tvm.ir.Op:
    """Returns a Relax operator whose result has the type that it is called with."""
    register_operator(name, description)
    tvm.ir.register_op_attr(name, "FInferType", lambda call, _: call.ty_args[0])
    tvm.ir.register_op_attr(name, "FPurity", True)
    tvm.ir.register_op_attr(name, "TScriptPrinterName", name)
    return tvm.ir.Op.get(name)


def call_region(
    builder: relax.BlockBuilder,
    name: str,
    arguments: Sequence[relax.Expr],
    results: Sequence[ir.Value],
    symbols: Mapping[str, tirx.Var],
) -> list[relax.Expr]:
    """Emits the call of a region.

    Args:
        builder: The block builder to emit to.
        name: The region's name.
        arguments: The tensors that it reads.
        results: The values that it computes; none of them foreign.
        symbols: The variables of the graph inputs' symbolic dimensions.

    Returns:
        A tensor for each result.
    """
    operator = typed_operator(REGION_PREFIX + name, "A part of a graph that other code runs.")
    types = [_known_type(value) for value in results]
    whole = types[0] if len(types) == 1 else relax.TupleType(types)
    call = builder.emit(relax.Call(operator, list(arguments), ty_args=[whole]))
    parts: list[Any] = [call]
    if len(results) > 1:
        parts = [builder.emit(relax.TupleGetItem(call, i)) for i in range(len(results))]
    return [
        builder.match_cast(part, _symbolic_type(value, symbols)) if _is_matched(value) else part
        for part, value in zip(parts, results, strict=True)
    ]


def host_region_calls(module: tvm.IRModule) -> tvm.IRModule:
    """Makes the calls of regions calls of the session's functions, the sizes checked."""
    function = module["main"]
    if not _has_region(function):
        return module
    host = _Host(module)
    body = host.visit_expr(function)
    module = host.builder_.get()
    module["main"] = body
    return module


@relax.expr_functor.mutator
class _Host(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        if not _calls_region(call):
            return call
        exact = call.ty_args[0]
        types = list(exact.fields) if isinstance(exact, relax.TupleType) else [exact]
        loose = [relax.TensorType(dtype=str(kind.dtype), ndim=kind.ndim) for kind in types]
        whole = loose[0] if len(loose) == 1 else relax.TupleType(loose)
        result = self.builder_.emit(
            relax.call_pure_packed(str(call.op.name), *call.args, ty_args=[whole])
        )
        parts: list[Any] = [result]
        if len(types) > 1:
            parts = [self.builder_.emit(relax.TupleGetItem(result, i)) for i in range(len(types))]
        checked = [
            part if kind.shape is None else self.builder_.match_cast(part, kind)
            for part, kind in zip(parts, types, strict=True)
        ]
        return checked[0] if len(checked) == 1 else relax.Tuple(checked)


def _calls_region(expression: relax.Expr) -> bool:
    name = getattr(getattr(expression, "op", None), "name", "")
    return isinstance(expression, relax.Call) and str(name).startswith(REGION_PREFIX)


def _has_region(function: relax.Function) -> bool:
    found = []
    relax.analysis.post_order_visit(
        function, lambda part: found.append(part) if _calls_region(part) else None
    )
    return bool(found)


def _is_matched(value: ir.Value) -> bool:
    """Whether sizes of a result are symbols that something may read."""
    return value.shape is not None and not value.shape.is_static() and bool(value.uses())


def _known_type(value: ir.Value) -> relax.TensorType:
    """The type as far as no symbol is needed for it."""
    assert value.dtype is not None
    dtype = TENSOR_DTYPES[value.dtype]
    if value.shape is not None and value.shape.is_static():
        return relax.TensorType([int(size) for size in value.shape.numpy()], dtype)
    return relax.TensorType(dtype=dtype, ndim=-1 if value.shape is None else len(value.shape))


def _symbolic_type(value: ir.Value, symbols: Mapping[str, tirx.Var]) -> relax.TensorType:
    assert value.shape is not None and value.dtype is not None
    sizes: list[Any] = []
    for axis, size in enumerate(value.shape):
        if isinstance(size, int):
            sizes.append(tirx.IntImm("int64", size))
        elif size.value in symbols:
            sizes.append(symbols[str(size.value)])
        else:
            # A name that no input has may have been written down by hand: it promises nothing.
            sizes.append(tirx.Var(f"region_size_{axis}", "int64"))
    return relax.TensorType(sizes, TENSOR_DTYPES[value.dtype])
