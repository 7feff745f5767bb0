"""Converters of the operators that transformers are made of, standard ones and ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ingot.targets.relax.operators.attention import attention
from ingot.targets.relax.operators.contrib_arithmetic import (
    fast_gelu,
    fused_matmul,
    quick_gelu,
)
from ingot.targets.relax.operators.contrib_attention import (
    contrib_attention,
    multi_head_attention,
)
from ingot.targets.relax.operators.contrib_normalization import (
    embed_layer_normalization,
    simplified_layer_normalization,
    skip_layer_normalization,
    skip_simplified_layer_normalization,
)
from ingot.targets.relax.operators.rotary_embedding import (
    contrib_rotary_embedding,
    rotary_embedding,
)
from ingot.targets.relax.operators.tensor_scatter import tensor_scatter

_CONTRIB: dict[str, Callable[..., Any]] = {
    "Attention": contrib_attention,
    "EmbedLayerNormalization": embed_layer_normalization,
    "FastGelu": fast_gelu,
    "FusedMatMul": fused_matmul,
    "MultiHeadAttention": multi_head_attention,
    "QuickGelu": quick_gelu,
    "RotaryEmbedding": contrib_rotary_embedding,
    "SimplifiedLayerNormalization": simplified_layer_normalization,
    "SkipLayerNormalization": skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": skip_simplified_layer_normalization,
}

TRANSFORMER_CONVERTERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("", "Attention"): attention,
    ("", "RotaryEmbedding"): rotary_embedding,
    ("", "SimplifiedLayerNormalization"): simplified_layer_normalization,
    ("", "TensorScatter"): tensor_scatter,
    **{("com.microsoft", name): convert for name, convert in _CONTRIB.items()},
}
