"""Batch normalization by the statistics of the batch, the training mode of the ONNX operator."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.targets.relax.tvm_internals import convert_by_tvm


def batch_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``BatchNormalization``; in training mode the statistics are computed.

    Args:
        builder: The block builder to emit to.
        inputs: Data [N, C, …], scale, bias, and the running mean and variance, [C] each.
        attributes: ``epsilon`` (1e-5), ``momentum`` (0.9), ``training_mode`` (0).

    Returns:
        The normalized data and, in training mode, the new running mean and variance.
    """
    if not attributes.get("training_mode", 0):
        normalized = convert_by_tvm("BatchNormalization", 15, builder, inputs, attributes)
        return normalized.fields[0]
    data, scale, bias, running_mean, running_variance = inputs
    dtype, rank = str(data.ty.dtype), data.ty.ndim
    wide = _cast(builder, data, "float32" if dtype in ("float16", "bfloat16") else dtype)
    kind = str(wide.ty.dtype)
    axes = [axis for axis in range(rank) if axis != 1]
    mean = builder.emit(relax.op.mean(wide, axis=axes, keepdims=True))
    centred = builder.emit(relax.op.subtract(wide, mean))
    squares = builder.emit(relax.op.multiply(centred, centred))
    variance = builder.emit(relax.op.mean(squares, axis=axes, keepdims=True))

    def along_channels(tensor: relax.Expr) -> relax.Expr:
        shape = relax.ShapeExpr([1, data.ty.shape[1], *[1] * (rank - 2)])
        return builder.emit(relax.op.reshape(_cast(builder, tensor, kind), shape))

    epsilon = relax.const(attributes.get("epsilon", 1e-5), kind)
    deviation = builder.emit(relax.op.sqrt(builder.emit(relax.op.add(variance, epsilon))))
    normal = builder.emit(relax.op.divide(centred, deviation))
    scaled = builder.emit(relax.op.multiply(normal, along_channels(scale)))
    result = builder.emit(relax.op.add(scaled, along_channels(bias)))
    momentum = attributes.get("momentum", 0.9)

    def moved(running: relax.Expr, current: relax.Expr) -> relax.Expr:
        flat = builder.emit(relax.op.reshape(current, running.ty.shape))
        kept = relax.op.multiply(_cast(builder, running, kind), relax.const(momentum, kind))
        new = relax.op.multiply(flat, relax.const(1.0 - momentum, kind))
        total = builder.emit(relax.op.add(builder.emit(kept), builder.emit(new)))
        return _cast(builder, total, str(running.ty.dtype))

    return relax.Tuple([
        _cast(builder, result, dtype), moved(running_mean, mean), moved(running_variance, variance)
    ])  # fmt: skip


def _cast(builder: relax.BlockBuilder, tensor: relax.Expr, dtype: str) -> relax.Expr:
    if str(tensor.ty.dtype) == dtype:
        return tensor
    return builder.emit(relax.op.astype(tensor, dtype))
