"""Sequences of integers, the ONNX operator ``Range``."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from ingot.targets.relax.tvm_internals import convert_by_tvm


def range_(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> Any:
    """Converts ``Range``; where the bounds are known or symbolic, so is the length.

    Args:
        builder: The block builder to emit to.
        inputs: Start, limit and step, scalars of one dtype.
        attributes: None are defined.
    """
    bounds = [_integer(entry) for entry in inputs]
    if any(bound is None for bound in bounds):
        return convert_by_tvm("Range", 12, builder, inputs, attributes)
    return relax.op.arange(*bounds, dtype="int64")


def _integer(entry: Any) -> tirx.Expr | None:
    """Returns a scalar as an expression, or None where it is computed at run time."""
    if tvm.ir.is_prim_expr(entry):
        return entry
    if isinstance(entry, tvm.ir.GenericConst):
        array = entry.value.numpy()
        if array.size == 1 and array.dtype == np.int64:
            return tirx.IntImm("int64", int(array.reshape(())))
    return None
