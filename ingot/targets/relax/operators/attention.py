"""Scaled dot-product attention, the standard ONNX operator ``Attention`` (opset 23)."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError

_UNSUPPORTED = ("is_causal", "softcap", "qk_matmul_output_mode", "q_num_heads", "kv_num_heads")


def attention(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts the 4-D form: ``softmax(Q Kᵀ · scale + mask) V``.

    Args:
        builder: The block builder to emit to.
        inputs: ``Q`` [batch, heads, q, dim], ``K`` [batch, heads, kv, dim],
            ``V`` [batch, heads, kv, dim_v] and, if there, ``attn_mask`` (added, or where it is
            boolean, true where attended), broadcastable to [batch, heads, q, kv].
        attributes: ``scale`` defaults to 1 / √dim.

    Raises:
        UnsupportedOperatorError: A form that is not lowered: 3-D inputs, a cache of past keys,
            causal masks, soft caps, grouped queries.
    """
    query, key, value = inputs[:3]
    mask = inputs[3] if len(inputs) > 3 else None
    if any(given is not None for given in inputs[4:]):
        raise UnsupportedOperatorError("attention with past keys and values is not lowered")
    for name in _UNSUPPORTED:
        if attributes.get(name, 0):
            raise UnsupportedOperatorError(
                f"attention with {name}={attributes[name]} is not lowered"
            )
    shapes = [tensor.ty.shape for tensor in (query, key, value)]
    if any(shape is None or len(shape) != 4 for shape in shapes):
        raise UnsupportedOperatorError("attention is lowered for inputs of four dimensions only")
    if not str(shapes[0][1]) == str(shapes[1][1]) == str(shapes[2][1]):
        raise UnsupportedOperatorError("attention with grouped queries is not lowered")
    scale = attributes.get("scale") or 1.0 / math.sqrt(int(shapes[0][3]))
    dtype = str(query.ty.dtype)
    scaled = builder.emit(relax.op.multiply(query, relax.const(scale, dtype)))
    transposed = builder.emit(relax.op.permute_dims(key, [0, 1, 3, 2]))
    scores = builder.emit(relax.op.matmul(scaled, transposed))
    if mask is not None:
        if str(mask.ty.dtype) == "bool":
            lowest = relax.const(float("-inf"), dtype)
            mask = builder.emit(relax.op.where(mask, relax.const(0.0, dtype), lowest))
        masked = builder.normalize(relax.op.add(scores, mask))
        if masked.ty.shape is None:
            # The mask's dimensions have other symbols; it broadcasts to the scores all the same.
            mask = builder.emit(relax.op.broadcast_to(mask, scores.ty.shape))
            masked = relax.op.add(scores, mask)
        scores = builder.emit(masked)
    weights = builder.emit(relax.op.nn.softmax(scores, axis=-1))
    return relax.op.matmul(weights, value)
