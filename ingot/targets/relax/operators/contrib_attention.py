"""ONNX Runtime's own attention operators: ``MultiHeadAttention`` and ``Attention``.

Both exclude keys by adding a number (``mask_filter_value``), or the lowest one for a causal mask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.sym import Analyzer

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.operators.attention_masks import (
    additive_mask,
    causal_mask,
    length_mask,
)
from ingot.targets.relax.operators.scaled_dot_product import (
    append,
    join_heads,
    scaled_dot_product,
    split_heads,
)
from ingot.targets.relax.value_checks import require_between

_FILTER = -10000.0
_LARGEST = (1 << 63) - 1
_RANK, _JOINED_RANK = 4, 3


def multi_head_attention(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``com.microsoft.MultiHeadAttention``.

    Args:
        builder: The block builder to emit to.
        inputs: Queries, keys and values [batch, positions, heads · size], keys and values also
            [batch, heads, positions, size]; a bias of all three, a mask of keys, a bias of scores,
            past keys and values.
        attributes: ``num_heads``, ``scale``, ``mask_filter_value``, ``unidirectional``.

    Returns:
        The result; with further outputs asked for, a tuple of it, keys and values.

    Raises:
        UnsupportedOperatorError: Packed inputs, shared buffers, or unknown shapes.
    """
    query, key, value, bias, padding, added, past_key, past_value = _first(inputs, 8)
    if key is None or value is None or any(given is not None for given in inputs[8:]):
        raise UnsupportedOperatorError("attention over packed inputs or shared buffers")
    _require_outputs(attributes, 3)
    heads = int(attributes["num_heads"])
    if bias is not None:
        query, key, value = _with_bias(builder, (query, key, value), bias)
    query, key, value = (
        tensor if _rank(tensor) == _RANK else split_heads(builder, tensor, heads)
        for tensor in (query, key, value)
    )
    key, value = append(builder, past_key, key), append(builder, past_value, value)
    result = _attend(builder, (query, key, value), attributes, padding, added, past_key)
    outputs = [join_heads(builder, result), key, value]
    return outputs[0] if attributes["tvm_custom"]["num_outputs"] == 1 else relax.Tuple(outputs)


def contrib_attention(
    builder: Builder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``com.microsoft.Attention``, which projects its input itself.

    Args:
        builder: The block builder to emit to.
        inputs: The input [batch, positions, width], weights [width, queries' + keys' + values'
            widths], their bias, a mask of keys, past keys and values [2, batch, heads, past, size],
            a bias of scores.
        attributes: ``num_heads``, ``scale``, ``mask_filter_value``, ``unidirectional``,
            ``qkv_hidden_sizes``.

    Returns:
        The result; with a second output asked for, a tuple of it, and keys and values.

    Raises:
        UnsupportedOperatorError: Rotation within the operator, shared buffers, unknown shapes.
    """
    data, weights, bias, padding, past, added = _first(inputs, 6)
    if any(given is not None for given in inputs[6:]) or attributes.get("do_rotary", 0):
        raise UnsupportedOperatorError("attention that rotates or shares buffers")
    _require_outputs(attributes, 2)
    heads = int(attributes["num_heads"])
    if padding is not None and _rank(padding) == 1:
        message = "length {0} in the mask is negative"
        require_between(builder, padding, [(0, _LARGEST)], message)
    projected = builder.emit(relax.op.matmul(data, weights))
    if bias is not None:
        projected = builder.emit(relax.op.add(projected, bias))
    width = _number(weights.ty.shape[1], "the width of attention's weights")
    widths = [int(w) for w in attributes.get("qkv_hidden_sizes", ())] or [width // 3] * 3
    query, key, value = (
        split_heads(builder, part, heads) for part in _parts(builder, projected, widths, axis=2)
    )
    past_key = past_value = None
    if past is not None:
        past_key, past_value = (
            builder.emit(relax.op.squeeze(part, 0))
            for part in _parts(builder, past, [1, 1], axis=0)
        )
    key, value = append(builder, past_key, key), append(builder, past_value, value)
    result = _attend(builder, (query, key, value), attributes, padding, added, past_key)
    joined = join_heads(builder, result)
    if attributes["tvm_custom"]["num_outputs"] == 1:
        return joined
    present = [builder.emit(relax.op.expand_dims(part, 0)) for part in (key, value)]
    return relax.Tuple([joined, builder.emit(relax.op.concat(present, axis=0))])


def _attend(
    builder: relax.BlockBuilder,
    operands: Sequence[relax.Expr],
    attributes: dict[str, Any],
    padding: relax.Expr | None,
    added: relax.Expr | None,
    past: relax.Expr | None,
) -> relax.Expr:
    query, key, _ = operands
    dtype = str(query.ty.dtype)
    if dtype != "float32":
        raise UnsupportedOperatorError(f"ONNX Runtime's attention of {dtype} is not lowered")
    scores = [*list(query.ty.shape)[:3], key.ty.shape[2]]
    masks = []
    if padding is not None:
        excluded = float(attributes.get("mask_filter_value", _FILTER))
        masks.append(_padding_mask(builder, padding, scores, dtype, excluded))
    if added is not None:
        masks.append(additive_mask(builder, added, scores, dtype))
    if attributes.get("unidirectional", 0):
        offset = tirx.IntImm("int64", 0) if past is None else past.ty.shape[2]
        masks.append(causal_mask(builder, scores[2], scores[3], offset, dtype))
    scale = float(attributes.get("scale", 0.0))
    size = _number(query.ty.shape[3], "the size of a head")
    steps = scaled_dot_product(builder, operands, scale=scale or 1.0 / math.sqrt(size), masks=masks)
    return steps.result


def _padding_mask(
    builder: relax.BlockBuilder,
    padding: relax.Expr,
    scores: Sequence[Any],
    dtype: str,
    excluded: float,
) -> relax.Expr:
    """Makes a mask of integers, [batch, keys], [batch, queries, keys] or lengths [batch]."""
    rank = _rank(padding)
    batch = scores[0]
    if rank == 1:
        if not Analyzer().can_prove_equal(padding.ty.shape[0], batch):
            raise UnsupportedOperatorError("attention with a mask of beginnings and ends")
        lengths = builder.emit(relax.op.astype(padding, "int64"))
        return length_mask(builder, lengths, scores, dtype, excluded)
    if rank not in (2, _JOINED_RANK):
        raise UnsupportedOperatorError(f"attention with a mask of {rank} dimensions")
    shown = builder.emit(relax.op.greater(padding, relax.const(0, str(padding.ty.dtype))))
    axes = [1, 2] if rank == 2 else [1]
    shown = builder.emit(relax.op.expand_dims(shown, axes))
    return additive_mask(builder, shown, scores, dtype, excluded)


def _with_bias(
    builder: relax.BlockBuilder, tensors: Sequence[relax.Expr], bias: relax.Expr
) -> list[relax.Expr]:
    if any(_rank(tensor) != _JOINED_RANK for tensor in tensors):
        raise UnsupportedOperatorError("attention with a bias of heads that are apart")
    widths = [_number(tensor.ty.shape[2], "attention's width") for tensor in tensors]
    parts = _parts(builder, bias, widths, axis=0)
    return [
        builder.emit(relax.op.add(tensor, part))
        for tensor, part in zip(tensors, parts, strict=True)
    ]


def _parts(
    builder: relax.BlockBuilder, tensor: relax.Expr, widths: Sequence[int], axis: int
) -> list[relax.Expr]:
    """Cuts an axis into parts."""
    ends = np.cumsum(widths)
    return [
        builder.emit(
            relax.op.strided_slice(tensor, axes=[axis], begin=[int(end) - width], end=[int(end)])
        )
        for end, width in zip(ends, widths, strict=True)
    ]


def _first(inputs: list[Any], count: int) -> list[Any]:
    return [*inputs, *[None] * count][:count]


def _rank(tensor: relax.Expr) -> int | None:
    return None if tensor.ty.shape is None else len(tensor.ty.shape)


def _number(size: Any, what: str) -> int:
    if not isinstance(size, tirx.IntImm):
        raise UnsupportedOperatorError(f"{what} is not known")
    return int(size)


def _require_outputs(attributes: dict[str, Any], most: int) -> None:
    if attributes["tvm_custom"]["num_outputs"] > most:
        raise UnsupportedOperatorError("attention that gives out its products is not lowered")
