"""Quantization to floats and integers that code holds in bytes: to 8-bit floats, to 4 bits."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.narrow_types import HELD_TYPES, NodeTypes
from ingot.targets.relax.operators.narrow_cast import map_elements
from ingot.targets.relax.operators.narrow_floats import NARROW_FLOATS, decode, encode
from ingot.targets.relax.operators.quantization import (
    dequantize_linear,
    rounded,
    scaled_down,
    scaled_up,
)


def quantize(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any], types: NodeTypes
) -> relax.Expr:
    """Converts ``QuantizeLinear`` to a type that is held in bytes.

    Args:
        builder: The block builder to emit to.
        inputs: The tensor, its scales and, if there, zero points; those of floats are zero.
        attributes: ``axis``, ``block_size``, ``precision``, ``saturate``.
        types: The node's element types.

    Raises:
        UnsupportedOperatorError: The type is not known, or division is asked for in float64.
    """
    values, scale, zero_point = (*inputs, None)[:3]
    target = types.outputs[0]
    if target is None or target not in HELD_TYPES:
        raise UnsupportedOperatorError(f"quantization to {target} is not lowered")
    quotient = scaled_down(builder, values, scale, attributes)
    if target in NARROW_FLOATS:
        kind, saturate = NARROW_FLOATS[target], bool(attributes.get("saturate", 1))
        return map_elements(builder, quotient, lambda value: encode(value, kind, saturate=saturate))
    steps = 1 << target.bitwidth
    signed = target.name.startswith("INT")
    bounds = (-steps // 2, steps // 2 - 1) if signed else (0, steps - 1)
    held = HELD_TYPES[target].numpy().name
    return rounded(builder, quotient, zero_point, attributes, bounds, held)


def dequantize(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any], types: NodeTypes
) -> relax.Expr:
    """Converts ``DequantizeLinear`` of a type that is held in bytes.

    Args:
        builder: The block builder to emit to.
        inputs: The tensor, its scales and, if there, zero points; those of floats are zero.
        attributes: ``axis``, ``block_size``, ``output_dtype``.
        types: The node's element types.

    Raises:
        UnsupportedOperatorError: Scales or result are of a type that is not lowered.
    """
    source = types.inputs[0]
    if source is None or source not in NARROW_FLOATS:
        # Integers are held as the numbers that they are.
        return dequantize_linear(builder, inputs, attributes)
    kind = NARROW_FLOATS[source]
    values = map_elements(builder, inputs[0], lambda code: decode(code, kind))
    return scaled_up(builder, values, inputs[1], attributes)
