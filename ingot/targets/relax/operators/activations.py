"""Activations that TVM's importer lacks, or converts for float32 or for finite numbers alone.

What is chosen by a comparison is chosen as ONNX Runtime does it, which says what NaN becomes.
"""

from __future__ import annotations

from typing import Any

from tvm import relax

_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _number(value: float, data: relax.Expr) -> relax.Expr:
    return relax.const(value, str(data.ty.dtype))


def _exponential(
    builder: relax.BlockBuilder, data: relax.Expr, alpha: float, scale: float = 1.0
) -> relax.Expr:
    """``alpha * (exp(data * scale) - 1)`` below zero, and the data from there on."""
    # A sum of what is above zero and what is below, of which one is zero: a choice of three
    # operands would end what is fused with a convolution.
    lower = builder.emit(relax.op.minimum(data, _number(0.0, data)))
    if scale != 1:
        lower = builder.emit(relax.op.multiply(lower, _number(scale, data)))
    power = builder.emit(relax.op.exp(lower))
    below = builder.emit(relax.op.subtract(power, _number(1.0, data)))
    below = builder.emit(relax.op.multiply(below, _number(alpha, data)))
    above = builder.emit(relax.op.maximum(data, _number(0.0, data)))
    return relax.op.add(above, below)


def elu(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Elu``: x, and ``alpha * (exp(x) - 1)`` below zero.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``alpha`` (1).
    """
    return _exponential(builder, inputs[0], attributes.get("alpha", 1.0))


def celu(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Celu``: x, and ``alpha * (exp(x / alpha) - 1)`` below zero.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``alpha`` (1).
    """
    alpha = attributes.get("alpha", 1.0)
    return _exponential(builder, inputs[0], alpha, 1.0 / alpha)


def selu(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Selu``: ``gamma`` times ``Elu``.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``alpha`` (1.67326…) and ``gamma`` (1.05070…).
    """
    data = inputs[0]
    gamma = _number(attributes.get("gamma", _SELU_GAMMA), data)
    unscaled = _exponential(builder, data, attributes.get("alpha", _SELU_ALPHA))
    return relax.op.multiply(builder.emit(unscaled), gamma)


def hard_sigmoid(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``HardSigmoid``: ``alpha * x + beta``, drawn to within 0 and 1.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``alpha`` (0.2) and ``beta`` (0.5).
    """
    data = inputs[0]
    alpha, beta = (_number(attributes.get(*each), data) for each in (("alpha", 0.2), ("beta", 0.5)))
    scaled = builder.emit(relax.op.multiply(data, alpha))
    shifted = builder.emit(relax.op.add(scaled, beta))
    raised = builder.emit(relax.op.maximum(shifted, _number(0.0, data)))
    return relax.op.minimum(raised, _number(1.0, data))


def thresholded_relu(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``ThresholdedRelu``: x where it exceeds ``alpha``, else 0, for NaN too.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``alpha`` (1).
    """
    data = inputs[0]
    above = builder.emit(relax.op.greater(data, _number(attributes.get("alpha", 1.0), data)))
    return relax.op.where(above, data, _number(0.0, data))


def shrink(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``Shrink``: moves x by ``bias`` towards 0 where it is beyond ``lambd``, else 0.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``bias`` (0) and ``lambd`` (0.5).
    """
    data = inputs[0]
    bias = _number(attributes.get("bias", 0.0), data)
    bound = attributes.get("lambd", 0.5)
    below = builder.emit(relax.op.less(data, _number(-bound, data)))
    above = builder.emit(relax.op.greater(data, _number(bound, data)))
    lower = builder.emit(relax.op.subtract(data, bias))
    upper = builder.emit(relax.op.add(data, bias))
    inner = builder.emit(relax.op.where(above, lower, _number(0.0, data)))
    return relax.op.where(below, upper, inner)


def is_infinite(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``IsInf``.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``detect_negative`` and ``detect_positive`` (1 each).
    """
    data = inputs[0]
    negative = bool(attributes.get("detect_negative", 1))
    positive = bool(attributes.get("detect_positive", 1))
    if negative and positive:
        return relax.op.equal(builder.emit(relax.op.abs(data)), _number(float("inf"), data))
    if not (negative or positive):
        return relax.op.full_like(data, relax.const(False, "bool"), "bool")
    return relax.op.equal(data, _number(float("inf" if positive else "-inf"), data))


def swish(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Swish``: ``x * sigmoid(alpha * x)``.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``alpha`` (1).
    """
    data = inputs[0]
    alpha = attributes.get("alpha", 1.0)
    scaled = data if alpha == 1 else builder.emit(relax.op.multiply(data, _number(alpha, data)))
    return relax.op.multiply(data, builder.emit(relax.op.sigmoid(scaled)))
