"""Folding of what rearranges constants, and of arithmetic that IEEE 754 rounds, in NumPy.

TVM's own folding compiles a kernel for each constant expression, which takes most of a build: a
network has a reshaped bias per convolution, and a square root per normalization. Here the same is a
view, a copy, or one operation of NumPy's, which has the same bits; what is left for TVM's folding
is the rest.
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


_LAYOUTS: dict[str, Callable[[Array, relax.Call], Array | None]] = {
    "relax.reshape": _reshape,
    "relax.permute_dims": _permute,
    "relax.expand_dims": _expand_dims,
}


_ARITHMETIC: dict[str, Callable[..., Array]] = {
    "relax.add": np.add,
    "relax.subtract": np.subtract,
    "relax.multiply": np.multiply,
    "relax.divide": np.divide,
    "relax.negative": np.negative,
    "relax.sqrt": np.sqrt,
}
_ROUNDED_BY_IEEE_754 = ("float32", "float64")


def _arithmetic(arrays: list[Array], call: relax.Call) -> Array | None:
    compute = _ARITHMETIC.get(call.op.name)
    kinds = {str(array.dtype) for array in arrays}
    if compute is None or len(kinds) != 1 or not kinds <= {*_ROUNDED_BY_IEEE_754}:
        return None
    with np.errstate(all="ignore"):  # infinities and NaN are results like others
        return np.asarray(compute(*arrays))


@relax.expr_functor.mutator
class _Folder(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.folded = 0

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        folded = _folded(call)
        if folded is None:
            return call
        self.folded += 1
        return relax.const(folded, str(folded.dtype))


def _folded(call: relax.Call) -> Array | None:
    name = getattr(call.op, "name", "")
    layout = _LAYOUTS.get(name)
    operands = call.args[:1] if layout is not None else call.args
    if layout is None and name not in _ARITHMETIC:
        return None
    if not all(isinstance(operand, tvm.ir.GenericConst) for operand in operands):
        return None
    arrays = [operand.value.numpy() for operand in operands]
    return _arithmetic(arrays, call) if layout is None else layout(arrays[0], call)


def fold_constants(module: tvm.IRModule) -> tvm.IRModule:
    """Replaces reshapes, transposes and arithmetic of constants, chains of them included."""
    while True:
        folder = _Folder(module)
        module["main"] = folder.visit_expr(module["main"])
        if not folder.folded:
            return module
        # Brings the new constants to the calls that use them.
        module = relax.transform.CanonicalizeBindings()(module)
