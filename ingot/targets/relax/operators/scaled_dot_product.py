"""Scaled dot-product attention spelled out in Relax: what every attention operator becomes.

A target that has a kernel for it recognizes these calls; one that has none lowers them one by one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tvm import relax, tirx
from tvm.sym import Analyzer

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.operators.attention_masks import LOWEST

# Narrower floats are computed in this type: a score has more digits than they do.
_WIDE = "float32"


@dataclasses.dataclass(frozen=True)
class Steps:
    """What attention computes on its way, each [batch, heads, queries, keys] but the last.

    Attributes:
        products: Queries times keys, scaled.
        capped: The same within the soft cap.
        masked: The same with masks added.
        weights: Their softmax; zeros in a row without a key.
        result: Weights times values, [batch, heads, queries, value features].
    """

    products: relax.Expr
    capped: relax.Expr
    masked: relax.Expr
    weights: relax.Expr
    result: relax.Expr


def computed_in(dtype: str) -> str:
    """Returns the type in which attention over operands of a type is computed."""
    return dtype if dtype in ("float32", "float64") else _WIDE


def cast(builder: relax.BlockBuilder, tensor: relax.Expr, dtype: str) -> relax.Expr:
    """Returns a tensor of another element type, the same where it is the same."""
    if str(tensor.ty.dtype) == dtype:
        return tensor
    return builder.emit(relax.op.astype(tensor, dtype))


def scaled_dot_product(
    builder: relax.BlockBuilder,
    operands: Sequence[relax.Expr],
    *,
    scale: float,
    softcap: float = 0.0,
    masks: Sequence[relax.Expr] = (),
    may_lack_keys: bool = False,
    softmax_dtype: str | None = None,
) -> Steps:
    """Computes ``softmax(cap(Q Kᵀ · scale) + masks) V``.

    Args:
        builder: The block builder to emit to.
        operands: Q [batch, heads, queries, features], K [batch, key heads, keys, features] and
            V [batch, key heads, keys, value features], all float32 or all float64. Neighbouring
            heads of Q share one of K and V where these have fewer.
        scale: What products are multiplied with.
        softcap: Scores become ``softcap · tanh(score / softcap)`` where it is not zero.
        masks: Tensors to add that broadcast to the scores.
        may_lack_keys: Whether masks may exclude all keys of a row, whose weights are then zeros.
        softmax_dtype: The type in which the softmax is computed, if not that of the operands.

    Raises:
        UnsupportedOperatorError: Heads that cannot be shared evenly.
    """
    query, key, value = operands
    dtype = str(query.ty.dtype)
    group = head_group(query.ty.shape[1], key.ty.shape[1])
    if group > 1:
        key, value = (repeat_heads(builder, tensor, group) for tensor in (key, value))
    scaled = builder.emit(relax.op.multiply(query, relax.const(scale, dtype)))
    transposed = builder.emit(relax.op.permute_dims(key, [0, 1, 3, 2]))
    products = capped = builder.emit(relax.op.matmul(scaled, transposed))
    if softcap:
        cap = relax.const(softcap, dtype)
        bounded = builder.emit(relax.op.tanh(builder.emit(relax.op.divide(products, cap))))
        capped = builder.emit(relax.op.multiply(bounded, cap))
    masked = capped
    for mask in masks:
        masked = builder.emit(relax.op.add(masked, mask))
    scores = masked if softmax_dtype is None else cast(builder, masked, softmax_dtype)
    weights = builder.emit(relax.op.nn.softmax(scores, axis=-1))
    if may_lack_keys:
        wide = str(scores.ty.dtype)
        peak = builder.emit(relax.op.max(scores, axis=-1, keepdims=True))
        empty = builder.emit(relax.op.less_equal(peak, relax.const(LOWEST, wide)))
        weights = builder.emit(relax.op.where(empty, relax.const(0.0, wide), weights))
    weights = cast(builder, weights, dtype)
    result = builder.emit(relax.op.matmul(weights, value))
    return Steps(products, capped, masked, weights, result)


def head_group(heads: Any, key_heads: Any) -> int:
    """Returns how many heads of queries share one head of keys.

    Raises:
        UnsupportedOperatorError: Numbers that are unknown or do not divide.
    """
    if Analyzer().can_prove_equal(heads, key_heads):
        return 1
    if not (isinstance(heads, tirx.IntImm) and isinstance(key_heads, tirx.IntImm)):
        raise UnsupportedOperatorError(
            f"attention whose numbers of heads are not known, {heads} and {key_heads}, "
            "is not lowered"
        )
    if int(heads) % int(key_heads):
        raise UnsupportedOperatorError(f"{heads} heads cannot share {key_heads} of keys evenly")
    return int(heads) // int(key_heads)


def repeat_heads(builder: relax.BlockBuilder, tensor: relax.Expr, group: int) -> relax.Expr:
    """Repeats each head of [batch, heads, positions, features] ``group`` times."""
    batch, heads, positions, features = tensor.ty.shape
    apart = relax.op.reshape(tensor, relax.ShapeExpr([batch, heads, 1, positions, features]))
    repeated = relax.op.broadcast_to(
        builder.emit(apart), relax.ShapeExpr([batch, heads, group, positions, features])
    )
    return builder.emit(
        relax.op.reshape(
            builder.emit(repeated), relax.ShapeExpr([batch, heads * group, positions, features])
        )
    )


def split_heads(builder: relax.BlockBuilder, tensor: relax.Expr, heads: int) -> relax.Expr:
    """Makes [batch, positions, heads · features] to [batch, heads, positions, features]."""
    batch, positions, width = tensor.ty.shape
    if not isinstance(width, tirx.IntImm) or int(width) % heads:
        raise UnsupportedOperatorError(f"a width of {width} cannot be split into {heads} heads")
    shape = relax.ShapeExpr([batch, positions, heads, int(width) // heads])
    apart = builder.emit(relax.op.reshape(tensor, shape))
    return builder.emit(relax.op.permute_dims(apart, [0, 2, 1, 3]))


def join_heads(builder: relax.BlockBuilder, tensor: relax.Expr) -> relax.Expr:
    """Makes [batch, heads, positions, features] to [batch, positions, heads · features]."""
    batch, heads, positions, features = tensor.ty.shape
    apart = builder.emit(relax.op.permute_dims(tensor, [0, 2, 1, 3]))
    shape = relax.ShapeExpr([batch, positions, heads * features])
    return builder.emit(relax.op.reshape(apart, shape))


def append(builder: relax.BlockBuilder, past: relax.Expr | None, new: relax.Expr) -> relax.Expr:
    """Appends new positions to past ones, [batch, heads, positions, features]."""
    return new if past is None else builder.emit(relax.op.concat([past, new], axis=2))
