"""Folding of what only rearranges constants, in NumPy.

TVM's own folding compiles a kernel for each constant expression, which takes most of a build: a
network has a reshaped bias per convolution. Here the same is a view or a copy; what is left for
TVM's folding is arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

Array = np.ndarray[Any, np.dtype[Any]]


def _reshape(array: Array, call: relax.Call) -> Array | None:
    shape = call.args[1]
    if not isinstance(shape, relax.ShapeExpr):
        return None
    sizes = [int(size.value) for size in shape.values if isinstance(size, tirx.IntImm)]
    return array.reshape(sizes) if len(sizes) == len(shape.values) else None


def _permute(array: Array, call: relax.Call) -> Array:
    axes = call.attrs.axes
    return np.ascontiguousarray(np.transpose(array, None if axes is None else list(axes)))


def _expand_dims(array: Array, call: relax.Call) -> Array:
    return np.expand_dims(array, tuple(int(axis) for axis in call.attrs.axis))


_FOLDS: dict[str, Callable[[Array, relax.Call], Array | None]] = {
    "relax.reshape": _reshape,
    "relax.permute_dims": _permute,
    "relax.expand_dims": _expand_dims,
}


@relax.expr_functor.mutator
class _LayoutFolder(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.folded = 0

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        fold = _FOLDS.get(getattr(call.op, "name", ""))
        if fold is None or not isinstance(call.args[0], tvm.ir.GenericConst):
            return call
        array = call.args[0].value.numpy()
        folded = fold(array, call)
        if folded is None:
            return call
        self.folded += 1
        return relax.const(folded, str(array.dtype))


def fold_constant_layouts(module: tvm.IRModule) -> tvm.IRModule:
    """Replaces reshapes and transposes of constants by constants, chains of them included."""
    while True:
        folder = _LayoutFolder(module)
        module["main"] = folder.visit_expr(module["main"])
        if not folder.folded:
            return module
        # Brings the new constants to the calls that use them.
        module = relax.transform.CanonicalizeBindings()(module)
