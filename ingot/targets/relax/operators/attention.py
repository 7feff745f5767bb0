"""Scaled dot-product attention, the standard ONNX operator ``Attention`` (opsets 23 and 24).

Where versions of the standard differ, ONNX Runtime's reading is taken, which is that of ONNX 1.23:
the soft cap comes before the masks, rows without a key are zeros, and with the number of valid keys
given, causal queries are the last of them.
"""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression
from ingot.targets.relax.operators.attention_masks import (
    additive_mask,
    causal_mask,
    length_and_causal_mask,
    length_mask,
)
from ingot.targets.relax.operators.scaled_dot_product import (
    Steps,
    append,
    cast,
    computed_in,
    join_heads,
    scaled_dot_product,
    split_heads,
)
from ingot.targets.relax.value_checks import require_between

_INPUTS = 7
_DOUBLE = 11  # TensorProto.DOUBLE
_RANK, _JOINED_RANK = 4, 3


def attention(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Attention``.

    Args:
        builder: The block builder to emit to.
        inputs: ``Q`` [batch, heads, q, dim], ``K`` [batch, key heads, kv, dim], ``V`` [batch, key
            heads, kv, dim_v], or all three with heads joined, [batch, positions, heads · dim];
            ``attn_mask`` (added, or where it is boolean, true where attended), broadcastable to
            [batch, heads, q, past + kv]; ``past_key`` and ``past_value``, which K and V are
            appended to; ``nonpad_kv_seqlen`` [batch], how many keys are valid.
        attributes: ``scale`` defaults to 1 / √dim; ``is_causal``, ``softcap``, ``q_num_heads``,
            ``kv_num_heads``, ``qk_matmul_output_mode``, ``softmax_precision``.

    Returns:
        The result; with further outputs asked for, a tuple of it, the keys and values with the past
        ones, and what ``qk_matmul_output_mode`` says.

    Raises:
        UnsupportedOperatorError: Shapes that are unknown or do not fit.
    """
    query, key, value, mask, past_key, past_value, lengths = _padded(inputs)
    given = str(query.ty.dtype)
    joined = _rank(query) == _JOINED_RANK
    if joined:
        query, key, value = _split(builder, (query, key, value), attributes)
    if any(_rank(tensor) != _RANK for tensor in (query, key, value)):
        raise UnsupportedOperatorError("attention needs inputs of three or four known dimensions")
    if (past_key is None) != (past_value is None):
        raise UnsupportedOperatorError("attention needs past keys and past values, or neither")
    key, value = append(builder, past_key, key), append(builder, past_value, value)
    dtype = computed_in(given)
    operands = [cast(builder, tensor, dtype) for tensor in (query, key, value)]
    scores = [*list(query.ty.shape)[:3], key.ty.shape[2]]
    masks = [] if mask is None else [additive_mask(builder, mask, scores, dtype)]
    causal = bool(attributes.get("is_causal", 0))
    if lengths is not None:
        beyond = as_expression(scores[3]) + 1
        message = "length {0} is not one from 0 to {3}"
        require_between(builder, lengths, [(0, beyond)], message)
        limit = length_and_causal_mask if causal else length_mask
        masks.append(limit(builder, lengths, scores, dtype))
    elif causal:
        offset = tirx.IntImm("int64", 0) if past_key is None else past_key.ty.shape[2]
        masks.append(causal_mask(builder, scores[2], scores[3], offset, dtype))
    steps = scaled_dot_product(
        builder,
        operands,
        scale=_scale(attributes, query),
        softcap=attributes.get("softcap", 0.0),
        masks=masks,
        may_lack_keys=mask is not None or lengths is not None,
        softmax_dtype="float64" if attributes.get("softmax_precision") == _DOUBLE else None,
    )
    result = cast(builder, steps.result, given)
    if joined:
        result = join_heads(builder, result)
    outputs = [result, key, value]
    if attributes["tvm_custom"]["num_outputs"] > len(outputs):
        shown = _shown(steps, attributes.get("qk_matmul_output_mode", 0))
        outputs.append(cast(builder, shown, given))
    return result if attributes["tvm_custom"]["num_outputs"] == 1 else relax.Tuple(outputs)


def _padded(inputs: list[Any]) -> list[Any]:
    return [*inputs, *[None] * (_INPUTS - len(inputs))]


def _rank(tensor: relax.Expr) -> int | None:
    return None if tensor.ty.shape is None else len(tensor.ty.shape)


def _split(
    builder: relax.BlockBuilder, tensors: tuple[relax.Expr, ...], attributes: dict[str, Any]
) -> list[relax.Expr]:
    heads, key_heads = attributes.get("q_num_heads", 0), attributes.get("kv_num_heads", 0)
    if not (heads and key_heads) or any(_rank(tensor) != _JOINED_RANK for tensor in tensors):
        raise UnsupportedOperatorError(
            "attention over inputs of three dimensions needs q_num_heads and kv_num_heads"
        )
    return [
        split_heads(builder, tensor, count)
        for tensor, count in zip(tensors, (heads, key_heads, key_heads), strict=True)
    ]


def _scale(attributes: dict[str, Any], query: relax.Expr) -> float:
    scale = attributes.get("scale")
    if scale is None:
        features = query.ty.shape[3]
        if not isinstance(features, tirx.IntImm):
            raise UnsupportedOperatorError("attention needs heads of known size")
        return 1.0 / math.sqrt(int(features))
    if not scale > 0.0:
        # The operator multiplies both factors with the scale's root.
        raise UnsupportedOperatorError(f"attention's scale is {scale:g}, not positive")
    return float(scale)


def _shown(steps: Steps, mode: int) -> relax.Expr:
    shown = [steps.products, steps.capped, steps.masked, steps.weights]
    if not 0 <= mode < len(shown):
        raise UnsupportedOperatorError(f"attention has no qk_matmul_output_mode {mode}")
    return shown[mode]
