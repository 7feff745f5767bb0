"""Joining tensors, the ONNX operator ``Concat``."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.targets.relax.broadcasting import equal_size, viewed
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import shape_of


def concat(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Concat``; that dimensions are equal is checked where it is not known.

    Args:
        builder: The builder to emit to.
        inputs: The tensors.
        attributes: ``axis``, along which they are joined.

    Raises:
        UnsupportedOperatorError: Other dimensions differ.
    """
    shapes = [shape_of(each) for each in inputs]
    rank = len(shapes[0])
    axis = attributes.get("axis", 0) % max(rank, 1)
    common = [
        None if at == axis else equal_size(builder, *(shape[at] for shape in shapes))
        for at in range(rank)
    ]
    parts = [
        viewed(
            builder,
            each,
            [own if size is None else size for own, size in zip(shape, common, strict=True)],
        )
        for each, shape in zip(inputs, shapes, strict=True)
        if shape[axis] != 0
    ]
    if len(parts) < 2:
        return parts[0] if parts else inputs[0]
    return relax.op.concat(parts, axis=axis)
