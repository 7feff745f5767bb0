"""Converters of operators on quantized tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ingot.targets.relax.operators.integer_products import conv_integer, matmul_integer
from ingot.targets.relax.operators.quantization import (
    dequantize_linear,
    dynamic_quantize_linear,
    quantize_linear,
)

QUANTIZED_CONVERTERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("", "ConvInteger"): conv_integer,
    ("", "DequantizeLinear"): dequantize_linear,
    ("", "DynamicQuantizeLinear"): dynamic_quantize_linear,
    ("", "MatMulInteger"): matmul_integer,
    ("", "QuantizeLinear"): quantize_linear,
}
