"""Operators that compute in float32 what they are given in narrower floats."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from ingot.errors import UnsupportedOperatorError

COMPUTED = "float32"
_NARROWER = ("float16", "bfloat16")


def as_computed(builder: relax.BlockBuilder, tensor: relax.Expr) -> relax.Expr:
    """Returns a tensor in float32; a constant stays one.

    Raises:
        UnsupportedOperatorError: It is of another type than a float of at most 32 bits.
    """
    dtype = str(tensor.ty.dtype)
    if dtype == COMPUTED:
        return tensor
    if dtype not in _NARROWER:
        raise UnsupportedOperatorError(f"{dtype} is not lowered, {COMPUTED} is")
    if isinstance(tensor, tvm.ir.GenericConst):
        return relax.const(tensor.value.numpy().astype(np.float32))
    return builder.emit(relax.op.astype(tensor, COMPUTED))


def as_given(builder: relax.BlockBuilder, result: relax.Expr, dtype: str) -> relax.Expr:
    """Returns a float32 result in the type that the operator was given."""
    return result if dtype == COMPUTED else builder.emit(relax.op.astype(result, dtype))
