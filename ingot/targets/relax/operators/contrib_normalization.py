"""ONNX Runtime's own normalizations: with a skip connection, by the mean square, of embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.operators.norms import rms_normalization
from ingot.targets.relax.operators.rotary_embedding import positions_from, rows_at

_EPSILON = 1e-12
_OUTPUTS = 4


def skip_layer_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``SkipLayerNormalization``: of input plus skip plus bias.

    Args:
        builder: The block builder to emit to.
        inputs: The input, the skip, scale, and if there bias of the result and bias of the sum.
        attributes: ``epsilon``.

    Returns:
        The result; with the fourth output asked for, a tuple that ends with the sum.

    Raises:
        UnsupportedOperatorError: The mean or the deviation is asked for.
    """
    data, skip, scale, shift, bias = [*inputs, None, None][:5]
    total = _sum(builder, data, skip, bias)
    result = _layer_norm(builder, total, scale, shift, attributes)
    return _outputs(result, total, attributes)


def skip_simplified_layer_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``SkipSimplifiedLayerNormalization``: the same by the root mean square.

    Args:
        builder: The block builder to emit to.
        inputs: The input, the skip, scale, and if there the bias of the sum.
        attributes: ``epsilon``.

    Returns:
        The result; with the fourth output asked for, a tuple that ends with the sum.

    Raises:
        UnsupportedOperatorError: The mean or the deviation is asked for.
    """
    data, skip, scale, bias = [*inputs, None][:4]
    total = _sum(builder, data, skip, bias)
    epsilon = float(attributes.get("epsilon", _EPSILON))
    result = builder.emit(relax.op.nn.rms_norm(total, scale, [-1], epsilon))
    return _outputs(result, total, attributes)


def simplified_layer_normalization(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``SimplifiedLayerNormalization``, the RMS normalization before it was standard.

    Args:
        builder: The block builder to emit to.
        inputs: The data and its scale.
        attributes: ``axis``, ``epsilon``.

    Raises:
        UnsupportedOperatorError: The deviation is asked for, or the rank is unknown.
    """
    if attributes["tvm_custom"]["num_outputs"] > 1:
        raise UnsupportedOperatorError("a normalization that gives out its deviation")
    return rms_normalization(builder, inputs, attributes)


def embed_layer_normalization(
    builder: Builder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``EmbedLayerNormalization``: the sum of BERT's three embeddings, normalized.

    Args:
        builder: The block builder to emit to.
        inputs: Tokens [batch, length], segments, tables of tokens, positions and segments, scale,
            bias, and if there a mask and positions.
        attributes: ``epsilon``, ``mask_index_type``.

    Returns:
        A tuple of the result, the tokens of each text that the mask shows, and the sum.
    """
    ids, segments, words, places, kinds, scale, shift, mask, positions = [*inputs, None, None][:9]
    batch, length = ids.ty.shape
    if positions is None:
        zero = relax.const(np.zeros(1, np.int64), "int64")
        positions = positions_from(builder, zero, tirx.IntImm("int64", 1), length)
    pairs = [(words, ids), (places, positions)]
    if segments is not None:
        pairs.append((kinds, segments))
    total = None
    for table, indices in pairs:
        found = rows_at(builder, table, indices)
        total = found if total is None else builder.emit(relax.op.add(total, found))
    assert total is not None
    result = _layer_norm(builder, total, scale, shift, attributes)
    if attributes["tvm_custom"]["num_outputs"] == 1:
        return result
    if mask is None or not attributes.get("mask_index_type", 1):
        shown = builder.emit(relax.op.zeros(relax.ShapeExpr([batch]), "int32"))
    else:
        shown = builder.emit(relax.op.sum(mask, axis=1))
    return relax.Tuple([result, shown, total])


def _sum(
    builder: relax.BlockBuilder, data: relax.Expr, skip: relax.Expr, bias: relax.Expr | None
) -> relax.Expr:
    total = builder.emit(relax.op.add(data, skip))
    return total if bias is None else builder.emit(relax.op.add(total, bias))


def _layer_norm(
    builder: relax.BlockBuilder,
    data: relax.Expr,
    scale: relax.Expr,
    shift: relax.Expr | None,
    attributes: dict[str, Any],
) -> relax.Expr:
    if shift is None:
        width = scale.ty.shape[0]
        if not isinstance(width, tirx.IntImm):
            raise UnsupportedOperatorError("a normalization of unknown width")
        shift = relax.const(np.zeros(int(width)), str(scale.ty.dtype))
    epsilon = float(attributes.get("epsilon", _EPSILON))
    return builder.emit(relax.op.nn.layer_norm(data, scale, shift, axes=[-1], epsilon=epsilon))


def _outputs(result: relax.Expr, total: relax.Expr, attributes: dict[str, Any]) -> relax.Expr:
    """The result, and the sum as the last of four; ONNX Runtime leaves the two between out."""
    count = attributes["tvm_custom"]["num_outputs"]
    if count not in (1, _OUTPUTS):
        raise UnsupportedOperatorError("a normalization that gives out its mean and deviation")
    return result if count == 1 else relax.Tuple([result, result, result, total])
