"""Rotation of features by their position: ``RotaryEmbedding``, of the standard and of ONNX Runtime.

Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021).
"""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import shape_of
from ingot.targets.relax.value_checks import require_between

_RANK, _JOINED_RANK = 4, 3
_TABLE_RANK = 2


def rotary_embedding(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts the standard ``RotaryEmbedding`` (opset 23).

    Args:
        builder: The block builder to emit to.
        inputs: The features [batch, heads, positions, dim] or [batch, positions, heads · dim];
            cosines and sines, [batch, positions, rotated / 2] or, with the last input
            ``position_ids`` [batch, positions], tables [any, rotated / 2].
        attributes: ``interleaved``, ``num_heads``, ``rotary_embedding_dim``.

    Raises:
        UnsupportedOperatorError: Shapes that are unknown or do not fit.
    """
    features, cosines, sines, positions = (*inputs, None)[:4]
    if positions is not None:
        cosines, sines = (rows_at(builder, table, positions) for table in (cosines, sines))
    return rotate(builder, features, cosines, sines, attributes)


def contrib_rotary_embedding(
    builder: Builder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ONNX Runtime's ``RotaryEmbedding``.

    Args:
        builder: The block builder to emit to.
        inputs: The features as in the standard operator; positions [batch, positions], or [1], the
            first position of all; tables of cosines and sines [any, rotated / 2].
        attributes: ``interleaved``, ``num_heads``, ``rotary_embedding_dim``, ``scale``.

    Raises:
        UnsupportedOperatorError: Ragged batches, a scale, shapes that are unknown or do not fit.
    """
    features, positions, cosines, sines = inputs[:4]
    if attributes.get("is_packed_batching", 0) or attributes.get("scale", 1.0) != 1.0:
        raise UnsupportedOperatorError("a rotary embedding that packs batches or scales")
    shape = _shape(features)
    length = shape[1] if len(shape) == _JOINED_RANK else shape[2]
    positions = positions_from(builder, positions, shape[0], length)
    return rotary_embedding(builder, [features, cosines, sines, positions], attributes)


def rows_at(builder: Builder, table: relax.Expr, numbers: relax.Expr) -> relax.Expr:
    """Returns the rows of a table with numbers, none of them negative, which is checked."""
    rows = shape_of(table)[0]
    require_between(builder, numbers, [(0, rows)], "number {0} is not one of {2} rows")
    return builder.emit(relax.op.take(table, numbers, axis=0, mode="clip"))


def positions_from(
    builder: relax.BlockBuilder, positions: relax.Expr, batch: Any, length: Any
) -> relax.Expr:
    """Returns positions [batch, length]: as they are, or counted from one first position."""
    if len(_shape(positions)) == _TABLE_RANK:
        return positions
    zero, one = tirx.IntImm("int64", 0), tirx.IntImm("int64", 1)
    counted = builder.emit(relax.op.arange(zero, length, one, dtype="int64"))
    counted = builder.emit(relax.op.add(counted, positions))
    row = builder.emit(relax.op.expand_dims(counted, 0))
    return builder.emit(relax.op.broadcast_to(row, relax.ShapeExpr([batch, length])))


def rotate(
    builder: relax.BlockBuilder,
    features: relax.Expr,
    cosines: relax.Expr,
    sines: relax.Expr,
    attributes: dict[str, Any],
) -> relax.Expr:
    """Rotates pairs of features: (a, b) becomes (a cos - b sin, a sin + b cos).

    Args:
        builder: The block builder to emit to.
        features: [batch, heads, positions, dim] or [batch, positions, heads · dim].
        cosines: [batch, positions, rotated / 2].
        sines: Likewise.
        attributes: ``interleaved``: whether a pair's features are neighbours, else they are half of
            the rotated ones apart; ``num_heads``; ``rotary_embedding_dim``, how many features are
            rotated, all by default.

    Raises:
        UnsupportedOperatorError: Shapes that are unknown or do not fit.
    """
    shape = _shape(features)
    heads = int(attributes.get("num_heads", 0))
    rotated = int(attributes.get("rotary_embedding_dim", 0))
    if len(shape) == _JOINED_RANK:
        shape = _split(shape, heads, 2 * int(_size(_shape(cosines)[-1])))
        features = builder.emit(relax.op.reshape(features, relax.ShapeExpr(shape)))
        head_axis = 2
    else:
        head_axis = 1
    width = _size(shape[-1])
    rotated = rotated or width
    if len(shape) != _RANK or rotated % 2 or rotated > width:
        raise UnsupportedOperatorError(f"{rotated} of {width} features cannot be rotated in pairs")
    cosines, sines = (
        builder.emit(relax.op.expand_dims(table, head_axis)) for table in (cosines, sines)
    )
    rest = None
    turning = features
    if rotated < width:
        turning, rest = (
            _slice(builder, features, bounds) for bounds in ((0, rotated), (rotated, width))
        )
    turned = _turn(builder, turning, (cosines, sines), bool(attributes.get("interleaved", 0)))
    if rest is not None:
        turned = builder.emit(relax.op.concat([turned, rest], axis=-1))
    if head_axis == 1:
        return turned
    batch, length, heads, width = shape
    return builder.emit(relax.op.reshape(turned, relax.ShapeExpr([batch, length, heads * width])))


def _turn(
    builder: relax.BlockBuilder,
    features: relax.Expr,
    tables: tuple[relax.Expr, relax.Expr],
    interleaved: bool,
) -> relax.Expr:
    cosines, sines = tables
    *leading, width = _shape(features)
    half = int(width) // 2
    if interleaved:
        shape = relax.ShapeExpr([*leading, half, 2])
        pairs = builder.emit(relax.op.reshape(features, shape))
        first, second = (
            builder.emit(relax.op.squeeze(_slice(builder, pairs, bounds), -1))
            for bounds in ((0, 1), (1, 2))
        )
    else:
        first, second = (
            _slice(builder, features, bounds) for bounds in ((0, half), (half, 2 * half))
        )

    def product(part: relax.Expr, table: relax.Expr) -> relax.Expr:
        return builder.emit(relax.op.multiply(part, table))

    turned = [
        builder.emit(relax.op.subtract(product(first, cosines), product(second, sines))),
        builder.emit(relax.op.add(product(first, sines), product(second, cosines))),
    ]
    if not interleaved:
        return builder.emit(relax.op.concat(turned, axis=-1))
    pairs = builder.emit(
        relax.op.concat([builder.emit(relax.op.expand_dims(part, -1)) for part in turned], axis=-1)
    )
    return builder.emit(relax.op.reshape(pairs, relax.ShapeExpr([*leading, width])))


def _slice(builder: relax.BlockBuilder, tensor: relax.Expr, bounds: tuple[int, int]) -> relax.Expr:
    """Returns a part of the last axis."""
    begin, end = bounds
    return builder.emit(
        relax.op.strided_slice(tensor, axes=[len(tensor.ty.shape) - 1], begin=[begin], end=[end])
    )


def _split(shape: list[Any], heads: int, rotated: int) -> list[Any]:
    """Returns the shape with heads apart; without their number all of a head is rotated."""
    width = _size(shape[-1])
    heads = heads or width // rotated
    if not heads or width % heads:
        raise UnsupportedOperatorError(f"a width of {width} cannot be split into {heads} heads")
    return [*shape[:2], heads, width // heads]


def _shape(tensor: relax.Expr) -> list[Any]:
    if tensor.ty.shape is None:
        raise UnsupportedOperatorError("a rotary embedding of unknown dimensions is not lowered")
    return list(tensor.ty.shape)


def _size(dimension: Any) -> int:
    if isinstance(dimension, tirx.IntImm | int):
        return int(dimension)
    raise UnsupportedOperatorError("a rotary embedding needs a known number of features")
