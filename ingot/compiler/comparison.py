"""How far one tensor is from another."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ingot.passes.record import TensorDifference
from ingot.reference.session import Array


def compare_tensors(name: str, before: Array, after: Array) -> TensorDifference:
    """Measures the difference of two tensors.

    A NaN equals a NaN, an infinity an infinity of its sign; against anything else either of them
    is an infinite difference. Zeros are equal whatever their signs. Differences are taken in
    float64.

    Args:
        name: The tensor's name, for the result.
        before: The reference.
        after: What it has become.
    """
    if before.shape != after.shape or before.dtype != after.dtype:
        was, now = (f"{array.dtype}{list(array.shape)}" for array in (before, after))
        return TensorDifference(name, np.inf, np.inf, detail=f"{was} has become {now}")
    if before.dtype.kind in "OUS":
        unequal = int(np.count_nonzero(before != after))
        if unequal:
            return TensorDifference(name, np.inf, np.inf, detail=f"{unequal} strings differ")
        return TensorDifference(name, 0.0, 0.0)
    dtype = ir.DataType.from_numpy(before.dtype)
    is_complex = before.dtype.kind == "c"
    wide = np.complex128 if is_complex else np.float64
    left, right = before.astype(wide), after.astype(wide)
    finite_left, finite_right = np.isfinite(left), np.isfinite(right)
    scale = float(np.max(np.abs(left), where=finite_left, initial=0.0))
    loses_finite = bool(np.any(finite_left & ~finite_right))
    equal = (left == right) | (np.isnan(left) & np.isnan(right))
    finite = finite_left & finite_right
    if np.any(~equal & ~finite):
        worst = np.inf
    else:
        worst = float(np.max(np.abs(left[~equal] - right[~equal]), initial=0.0))
        if worst == 0.0 and dtype.is_integer() and not np.array_equal(before, after):
            worst = 1.0  # integers beyond 2**53 that are one number in float64
    relative = worst / scale if scale else (np.inf if worst else 0.0)
    return TensorDifference(
        name,
        worst,
        relative,
        scale=scale,
        is_float=is_complex or dtype.is_floating_point(),
        loses_finite=loses_finite,
    )
