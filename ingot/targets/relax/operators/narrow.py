"""Converters that compute with element types which code holds in others, by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

from ingot.targets.relax.narrow_types import NodeTypes
from ingot.targets.relax.operators.narrow_cast import cast
from ingot.targets.relax.operators.narrow_quantization import dequantize, quantize

NarrowConverter = Callable[
    [relax.BlockBuilder, "list[Any]", "dict[str, Any]", NodeTypes], relax.Expr
]

NARROW_CONVERTERS: Mapping[str, NarrowConverter] = {
    "Cast": cast,
    "CastLike": cast,
    "DequantizeLinear": dequantize,
    "QuantizeLinear": quantize,
}
