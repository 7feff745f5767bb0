"""Positions of the largest and smallest elements, the ONNX operators ``ArgMax`` and ``ArgMin``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax

from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, at_least, shape_of
from ingot.targets.relax.legalization import best_position

Convert = Callable[[Builder, "list[Any]", "dict[str, Any]"], relax.Expr]


def _position(*, largest: bool) -> Convert:
    def convert(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
        data = inputs[0]
        axis = attributes.get("axis", 0) % data.ty.ndim
        size = shape_of(data)[axis]
        if not at_least(size, 1):
            builder.require(as_expression(size) >= 1, "there is nothing along axis {0}", axis)
        keepdims = bool(attributes.get("keepdims", 1))
        if attributes.get("select_last_index", 0):
            return builder.emit_te(
                best_position, data, axis, keepdims=keepdims, largest=largest, last=True
            )
        # An operator that the passes on layouts know.
        operator = relax.op.argmax if largest else relax.op.argmin
        return operator(data, axis, keepdims)

    convert.__doc__ = f"""Converts ``{"ArgMax" if largest else "ArgMin"}``.

    Args:
        builder: The builder to emit to.
        inputs: The data.
        attributes: ``axis`` (0), ``keepdims`` (1), ``select_last_index`` (0).
    """
    return convert


arg_max = _position(largest=True)
arg_min = _position(largest=False)
