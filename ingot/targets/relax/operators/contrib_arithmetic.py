"""ONNX Runtime's own activations and its matmul with what was fused into it."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError


def quick_gelu(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``QuickGelu``: ``x · sigmoid(alpha · x)``.

    Args:
        builder: The block builder to emit to.
        inputs: The data.
        attributes: ``alpha``, 1.702 by default.
    """
    (data,) = inputs
    alpha = relax.const(float(attributes.get("alpha", 1.702)), str(data.ty.dtype))
    gate = builder.emit(relax.op.sigmoid(builder.emit(relax.op.multiply(data, alpha))))
    return relax.op.multiply(data, gate)


def fast_gelu(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``FastGelu``: GELU by its tangent, of the data plus a bias if there is one.

    Args:
        builder: The block builder to emit to.
        inputs: The data, and perhaps the bias.
        attributes: None are defined.
    """
    del attributes
    data, bias = [*inputs, None][:2]
    if bias is not None:
        data = builder.emit(relax.op.add(data, bias))
    return relax.op.nn.gelu_tanh(data)


def fused_matmul(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``FusedMatMul``: a product of operands that may be transposed, times a number.

    Args:
        builder: The block builder to emit to.
        inputs: The two operands.
        attributes: ``transA``, ``transB``, ``alpha``.

    Raises:
        UnsupportedOperatorError: Batch dimensions are to be moved, or the rank is unknown.
    """
    if attributes.get("transBatchA", 0) or attributes.get("transBatchB", 0):
        raise UnsupportedOperatorError("a matmul that moves its batch dimensions is not lowered")
    left, right = (
        _transposed(builder, operand) if attributes.get(name, 0) else operand
        for operand, name in zip(inputs, ("transA", "transB"), strict=True)
    )
    product = relax.op.matmul(left, right)
    alpha = float(attributes.get("alpha", 1.0))
    if alpha == 1.0:
        return product
    return relax.op.multiply(builder.emit(product), relax.const(alpha, str(left.ty.dtype)))


def _transposed(builder: relax.BlockBuilder, operand: relax.Expr) -> relax.Expr:
    if operand.ty.shape is None:
        raise UnsupportedOperatorError("a matmul of unknown dimensions is not lowered")
    rank = len(operand.ty.shape)
    if rank < 2:
        return operand
    axes = [*range(rank - 2), rank - 1, rank - 2]
    return builder.emit(relax.op.permute_dims(operand, axes))
