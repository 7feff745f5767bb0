"""Clamping to constant bounds, the ONNX operator ``Clip``."""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax

from ingot.targets.relax.tvm_internals import convert_by_tvm


def clip(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> Any:
    """Converts ``Clip``; constant bounds become a maximum and a minimum.

    TVM has a ``clip`` of its own, but the passes that convert layouts stop at it.

    Args:
        builder: The block builder to emit to.
        inputs: The data, and the lower and upper bound, either of which may be left out.
        attributes: ``min`` and ``max``, before opset 11.
    """
    data, low, high = (*inputs, None, None)[:3]
    dtype = str(data.ty.dtype)
    bounds = [
        _constant(low, attributes.get("min", -math.inf)),
        _constant(high, attributes.get("max", math.inf)),
    ]
    if None in bounds or not dtype.startswith("float"):
        return convert_by_tvm("Clip", 13, builder, inputs, attributes)
    lowest, highest = (relax.const(bound, dtype) for bound in bounds)
    if bounds[0] != -math.inf:
        data = builder.emit(relax.op.maximum(data, lowest))
    return data if bounds[1] == math.inf else relax.op.minimum(data, highest)


def _constant(bound: Any, default: float) -> float | None:
    """Returns a bound's value, or None where it is computed at run time or not a number."""
    if bound is None:
        return default
    if not isinstance(bound, tvm.ir.GenericConst):
        return None
    value = float(bound.value.numpy().reshape(()))
    return None if math.isnan(value) else value
