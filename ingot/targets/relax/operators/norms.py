"""Normalizations over images and rows.

Statistics are float32's, whatever the data's type: that is ``stash_type`` 1, the default.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError

Convert = Callable[[relax.BlockBuilder, "list[Any]", "dict[str, Any]"], relax.Expr]

_EPSILON = 1e-5
# That of the operator's definition; added to the deviation, not to the variance.
_MVN_EPSILON = 1e-9


def group_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``GroupNormalization``.

    Args:
        builder: The block builder to emit to.
        inputs: Data [N, C, …]; scale and bias per channel, or before opset 21 per group.
        attributes: ``num_groups``, ``epsilon`` (1e-5), ``stash_type`` (1).

    Raises:
        UnsupportedOperatorError: The number of channels is not known or not a multiple of that of
            groups, or there are no pixels to normalize over.
    """
    data, scale, bias = inputs
    _require_float32(attributes)
    groups, channels = int(attributes["num_groups"]), _channels(data)
    if groups < 1 or channels % groups:
        raise UnsupportedOperatorError(f"{channels} channels do not divide into {groups} groups")

    def per_channel(values: relax.Expr) -> relax.Expr:
        if int(values.ty.shape[0]) == channels:
            return values
        column = builder.emit(relax.op.reshape(values, [groups, 1]))
        spread = builder.emit(relax.op.broadcast_to(column, [groups, channels // groups]))
        return builder.emit(relax.op.reshape(spread, [channels]))

    scale, bias = per_channel(scale), per_channel(bias)
    return _of_channels(builder, (data, scale, bias), groups, attributes)


def instance_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``InstanceNormalization``: every channel by itself.

    Args:
        builder: The block builder to emit to.
        inputs: Data [N, C, …], scale and bias [C].
        attributes: ``epsilon`` (1e-5).

    Raises:
        UnsupportedOperatorError: The number of channels is not known, or there are no pixels to
            normalize over.
    """
    data, scale, bias = inputs
    return _of_channels(builder, (data, scale, bias), _channels(data), attributes)


def _of_channels(
    builder: relax.BlockBuilder,
    operands: tuple[relax.Expr, relax.Expr, relax.Expr],
    groups: int,
    attributes: dict[str, Any],
) -> relax.Expr:
    rank, dtype = operands[0].ty.ndim, str(operands[0].ty.dtype)
    if rank < 3:
        raise UnsupportedOperatorError("there are no axes behind the channels to normalize over")
    data, scale, bias = (_cast(builder, operand, "float32") for operand in operands)
    normalized = relax.op.nn.group_norm(
        data, scale, bias, groups, channel_axis=1, axes=list(range(2, rank)),
        epsilon=attributes.get("epsilon", _EPSILON),
    )  # fmt: skip
    return _cast(builder, builder.normalize(normalized), dtype)


def mean_variance_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``MeanVarianceNormalization``: ``(x - mean) / (deviation + 1e-9)``.

    The mean is taken of differences from the first element, so that data without contrast gives
    zeros and not what the mean was rounded by.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``axes`` (0, 2, 3).
    """
    data = inputs[0]
    dtype, axes = str(data.ty.dtype), list(attributes.get("axes", (0, 2, 3)))
    wide = _cast(builder, data, "float64" if dtype == "float64" else "float32")
    first = wide
    for axis in axes:
        start = relax.const(np.zeros(1, np.int64))
        first = builder.emit(relax.op.take(first, start, axis=axis, mode="clip"))
    shifted = builder.emit(relax.op.subtract(wide, first))
    mean = builder.emit(relax.op.mean(shifted, axes, keepdims=True))
    centred = builder.emit(relax.op.subtract(shifted, mean))
    squares = builder.emit(relax.op.multiply(centred, centred))
    variance = builder.emit(relax.op.mean(squares, axes, keepdims=True))
    deviation = builder.emit(relax.op.sqrt(variance))
    epsilon = relax.const(_MVN_EPSILON, str(wide.ty.dtype))
    divisor = builder.emit(relax.op.add(deviation, epsilon))
    return _cast(builder, builder.emit(relax.op.divide(centred, divisor)), dtype)


def layer_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``LayerNormalization``.

    Args:
        builder: The block builder to emit to.
        inputs: The data, the scale, and the bias or None; both over the normalized axes.
        attributes: ``axis`` (-1), the first normalized one, ``epsilon`` (1e-5), ``stash_type`` (1).

    Returns:
        The normalized data and, where they are asked for, the mean and the inverse of the
        deviation.
    """
    data, scale, bias = (*inputs, None)[:3]
    _require_float32(attributes)
    dtype, rank = str(data.ty.dtype), data.ty.ndim
    axes = list(range(attributes.get("axis", -1) % rank, rank))
    epsilon = attributes.get("epsilon", _EPSILON)
    wide = _cast(builder, data, "float32")
    scale = _cast(builder, scale, "float32")
    sizes = [data.ty.shape[axis] for axis in axes]
    known = all(isinstance(size, tirx.IntImm) for size in sizes)
    if known and len(scale.ty.shape) == len(axes) and _output_count(attributes) == 1:
        zeros = relax.const(np.zeros([int(size) for size in sizes], np.float32))
        shift = zeros if bias is None else _cast(builder, bias, "float32")
        rows, scale, shift = _over_last_axis(builder, wide, (scale, shift), axes[0])
        normalized = builder.emit(relax.op.nn.layer_norm(rows, scale, shift, [-1], epsilon))
        return _cast(builder, _in_shape_of(builder, normalized, data), dtype)
    mean = builder.emit(relax.op.mean(wide, axes, keepdims=True))
    centred = builder.emit(relax.op.subtract(wide, mean))
    squares = builder.emit(relax.op.multiply(centred, centred))
    variance = builder.emit(relax.op.mean(squares, axes, keepdims=True))
    shifted = builder.emit(relax.op.add(variance, relax.const(epsilon, "float32")))
    inverse = builder.emit(relax.op.divide(relax.const(1.0, "float32"), relax.op.sqrt(shifted)))
    result = builder.emit(relax.op.multiply(centred, inverse))
    result = builder.emit(relax.op.multiply(result, scale))
    if bias is not None:
        result = builder.emit(relax.op.add(result, _cast(builder, bias, "float32")))
    outputs = [_cast(builder, result, dtype), mean, inverse]
    count = _output_count(attributes)
    return outputs[0] if count == 1 else relax.Tuple(outputs[:count])


def rms_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``RMSNormalization``.

    Args:
        builder: The block builder to emit to.
        inputs: The data, and the scale over the normalized axes.
        attributes: ``axis`` (-1), the first normalized one, ``epsilon`` (1e-5), ``stash_type`` (1);
            with another than 1 statistics are of the data's type.

    Raises:
        UnsupportedOperatorError: The rank is not known.
    """
    data, scale = inputs[:2]
    if data.ty.shape is None:
        raise UnsupportedOperatorError("a normalization of unknown dimensions")
    dtype = str(data.ty.dtype)
    computed = "float32" if attributes.get("stash_type", 1) == 1 else dtype
    wide, scale = _cast(builder, data, computed), _cast(builder, scale, computed)
    first = int(attributes.get("axis", -1)) % data.ty.ndim
    rows, scale = _over_last_axis(builder, wide, (scale,), first)
    epsilon = float(attributes.get("epsilon", _EPSILON))
    normalized = builder.emit(relax.op.nn.rms_norm(rows, scale, [-1], epsilon))
    return _cast(builder, _in_shape_of(builder, normalized, data), dtype)


def _over_last_axis(
    builder: relax.BlockBuilder, data: relax.Expr, columns: Sequence[relax.Expr], first: int
) -> tuple[relax.Expr, ...]:
    """Joins the axes from the first one on to one, of data and of what there is for each of them.

    The kernels for rows take it so. And over several axes TVM's layout pass permutes the data's
    but not the scale's, which then is read in a wrong order, and beyond its end.
    """
    shape = list(data.ty.shape)
    if first == len(shape) - 1:
        return (data, *columns)
    joined = functools.reduce(operator.mul, shape[first:])

    def of_row(column: relax.Expr) -> relax.Expr:
        spread = builder.emit(relax.op.broadcast_to(column, shape[first:]))
        return builder.emit(relax.op.reshape(spread, [joined]))

    rows = builder.emit(relax.op.reshape(data, [*shape[:first], joined]))
    return (rows, *map(of_row, columns))


def _in_shape_of(builder: relax.BlockBuilder, rows: relax.Expr, data: relax.Expr) -> relax.Expr:
    if rows.ty.ndim == data.ty.ndim:
        return rows
    return builder.emit(relax.op.reshape(rows, data.ty.shape))


def _channels(data: relax.Expr) -> int:
    size = data.ty.shape[1] if data.ty.ndim > 1 else None
    if not isinstance(size, tirx.IntImm):
        raise UnsupportedOperatorError("the number of channels is not known")
    return int(size)


def _output_count(attributes: dict[str, Any]) -> int:
    return int(attributes["tvm_custom"]["num_outputs"])


def _require_float32(attributes: dict[str, Any]) -> None:
    if attributes.get("stash_type", 1) != 1:
        raise UnsupportedOperatorError("statistics are computed in float32 only (stash_type 1)")


def _cast(builder: relax.BlockBuilder, tensor: relax.Expr, dtype: str) -> relax.Expr:
    if str(tensor.ty.dtype) == dtype:
        return tensor
    return builder.emit(relax.op.astype(tensor, dtype))


NORMS: Mapping[str, Convert] = {
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "RMSNormalization": rms_normalization,
}
