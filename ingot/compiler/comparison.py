"""How far one tensor is from another."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from ingot.passes.record import TensorDifference
from ingot.reference.session import Array, Value

_UNITS = {ir.DataType.FLOAT16: 2.0**-10, ir.DataType.BFLOAT16: 2.0**-7}


def compare_values(
    name: str, before: Value, after: Value, unit: float = 0.0
) -> Iterator[TensorDifference]:
    """Measures the differences of two outputs: tensors, or element by element what holds them.

    Args:
        name: The output's name; elements of a sequence are ``name[0]``, those of a map
            ``name['key']``.
        before: The reference.
        after: What it has become.
        unit: Of the coarsest type that the model computes in; see :func:`rounding_unit`.
    """
    if isinstance(before, (list, tuple)) and isinstance(after, (list, tuple)):
        if len(before) != len(after):
            detail = f"{len(before)} elements have become {len(after)}"
            yield TensorDifference(name, np.inf, np.inf, detail=detail)
            return
        for index, (left, right) in enumerate(zip(before, after, strict=True)):
            yield from compare_values(f"{name}[{index}]", left, right, unit)
    elif isinstance(before, dict) and isinstance(after, dict):
        if set(before) != set(after):
            keys = sorted(map(repr, set(before) ^ set(after)))
            detail = f"the keys differ: {', '.join(keys)}"
            yield TensorDifference(name, np.inf, np.inf, detail=detail)
            return
        for key in before:
            yield from compare_values(f"{name}[{key!r}]", before[key], after[key], unit)
    elif before is None or after is None:
        detail = "" if before is after else f"{_kind(before)} has become {_kind(after)}"
        size = np.inf if detail else 0.0
        yield TensorDifference(name, size, size, detail=detail)
    elif _is_container(before) or _is_container(after):
        detail = f"{_kind(before)} has become {_kind(after)}"
        yield TensorDifference(name, np.inf, np.inf, detail=detail)
    else:
        yield compare_tensors(name, np.asarray(before), np.asarray(after), unit)


def _is_container(value: Value) -> bool:
    return isinstance(value, (list, tuple, dict))


def _kind(value: Value) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a map"
    return "a sequence" if _is_container(value) else "a tensor"


def rounding_unit(model: ir.Model) -> float:
    """Relative size of a rounding in the coarsest of float16 and bfloat16 that a model computes in.

    Zero where it computes in neither. Types of 8 bits and less are what values are stored in.
    """
    computed = {value.dtype for node in model.graph.all_nodes() for value in node.outputs}
    return max((unit for dtype, unit in _UNITS.items() if dtype in computed), default=0.0)


def compare_tensors(name: str, before: Array, after: Array, unit: float = 0.0) -> TensorDifference:
    """Measures the difference of two tensors.

    A NaN equals a NaN, an infinity an infinity of its sign; against anything else either of them
    is an infinite difference. Zeros are equal whatever their signs. Differences are taken in
    float64.

    Args:
        name: The tensor's name, for the result.
        before: The reference.
        after: What it has become.
        unit: Of the coarsest type that the model computes in; see :func:`rounding_unit`.
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
        unit=max(unit, _UNITS.get(dtype, 0.0)),
    )
