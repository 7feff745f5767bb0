"""Normalization by the squares of neighbouring channels, the ONNX operator ``LRN``."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from tvm import relax, tirx


def local_response_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``LRN``: each element divided by a power of its neighbours' mean square.

    The squares are added up channel by channel, shifted, which is element-wise in any layout.

    Args:
        builder: The block builder to emit to.
        inputs: The data, [N, C, ...].
        attributes: ``size``, the number of neighbouring channels, the element's own in the middle
            (of an even number the one before); ``alpha`` (0.0001), ``beta`` (0.75), ``bias`` (1).
    """
    data = inputs[0]
    shape, dtype = list(data.ty.shape), str(data.ty.dtype)
    size = int(attributes["size"])
    before = (size - 1) // 2
    channels = shape[1]
    squares = builder.emit(relax.op.multiply(data, data))
    padded = builder.emit(_padded(squares, before, size - 1 - before))
    shifted = [
        builder.emit(relax.op.strided_slice(padded, [1], [first], [first + channels], [1]))
        for first in range(size)
    ]
    total = functools.reduce(lambda a, b: builder.emit(relax.op.add(a, b)), shifted)
    factor = float(attributes.get("alpha", 1e-4)) / size
    scaled = builder.emit(relax.op.multiply(total, relax.const(factor, dtype)))
    bias = relax.const(float(attributes.get("bias", 1.0)), dtype)
    exponent = relax.const(float(attributes.get("beta", 0.75)), dtype)
    power = builder.emit(relax.op.power(builder.emit(relax.op.add(scaled, bias)), exponent))
    return relax.op.divide(data, power)


def _padded(squares: relax.Expr, before: int, after: int) -> relax.Expr:
    """Squares with channels of zeros around them.

    A concatenation keeps to channels last where its neighbours are so, which padding does not.
    """
    shape, dtype = list(squares.ty.shape), str(squares.ty.dtype)
    if not all(isinstance(extent, tirx.IntImm) for extent in shape):
        return relax.op.nn.pad(squares, [0, 0, before, after, *[0] * (2 * (len(shape) - 2))])
    around = [
        relax.const(np.zeros([int(shape[0]), count, *map(int, shape[2:])], dtype))
        if count
        else None
        for count in (before, after)
    ]
    parts = [part for part in (around[0], squares, around[1]) if part is not None]
    return relax.op.concat(parts, 1) if len(parts) > 1 else squares
