"""One order for the numbers that prim funcs take besides tensors.

A prim func over tensors of open sizes takes, besides them, the sizes that no shape tells by itself.
TVM collects these in a set and passes them as that iterates, which follows from addresses: the same
model gave other code in the next process, and equal layers shared one prim func or did not.
"""

from __future__ import annotations

from typing import Any

from tvm import ir, tirx

from ingot.targets.relax.expressions import variables

# Fewer have but one order.
_ORDERED = 2


def in_order_of_shapes(
    function: tirx.PrimFunc, arguments: list[Any]
) -> tuple[tirx.PrimFunc, list[Any]]:
    """Orders a prim func's scalar parameters by where the shapes of its tensors have them first.

    Those that are in no shape come last, in the order that they have.

    Args:
        function: A prim func whose last parameters are its results.
        arguments: What it is called with, without the results.

    Returns:
        The prim func, and its arguments in the new order.
    """
    inputs = list(function.params)[: len(arguments)]
    results = list(function.params)[len(arguments) :]
    scalars = [i for i, each in enumerate(inputs) if isinstance(each.ty, ir.PrimType)]
    if len(scalars) < _ORDERED:
        return function, arguments
    first: dict[tirx.Var, int] = {}
    for parameter in function.params:
        for size in getattr(parameter.ty, "shape", ()):
            for variable in variables(size):
                first.setdefault(variable, len(first))
    ordered = sorted(scalars, key=lambda i: first.get(inputs[i], len(first)))
    source = dict(zip(scalars, ordered, strict=True))
    order = [source.get(i, i) for i in range(len(inputs))]
    parameters = [*(inputs[i] for i in order), *results]
    reordered = tirx.PrimFunc(parameters, function.body, function.ret_type, function.attrs)
    return reordered, [arguments[i] for i in order]
