"""ONNX Runtime's products with activations quantized as they come, in standard operators."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ingot.onnx_graph.matching import Unfit
from ingot.passes.fusion.rewriting import Builder
from ingot.passes.qoperators.rules import CONTRIB, Rule

_FLOAT = ir.convenience.convert_attributes({"to": int(ir.DataType.FLOAT)})


def dynamic_product(node: ir.Node, builder: Builder) -> ir.Value:
    """``DynamicQuantizeMatMul``: a float tensor, weights, their scales, zero points and a bias."""
    values, weights, scale, zero, bias = (*node.inputs, None, None)[:5]
    if values is None or scale is None:
        raise Unfit("a tensor is left out")
    integers, own_scale, own_zero = builder.node_of_several(
        "DynamicQuantizeLinear",
        [values],
        [ir.DataType.UINT8, ir.DataType.FLOAT, ir.DataType.UINT8],
        [values.shape, ir.Shape(()), ir.Shape(())],
    )
    return _real(builder, [integers, weights, own_zero, zero], own_scale, scale, bias)


def product_to_float(node: ir.Node, builder: Builder) -> ir.Value:
    """``MatMulIntegerToFloat``: a, b, their scales, their zero points and a bias."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = (*node.inputs, None, None, None)[:7]
    if a_scale is None or b_scale is None:
        raise Unfit("a scale is left out")
    return _real(builder, [a, b, a_zero, b_zero], a_scale, b_scale, bias)


def _real(
    builder: Builder,
    operands: list[ir.Value | None],
    left: ir.Value,
    right: ir.Value,
    bias: ir.Value | None,
) -> ir.Value:
    """What sums of products of integers stand for."""
    while operands[-1] is None:
        operands.pop()
    sums = builder.node("MatMulInteger", operands, dtype=ir.DataType.INT32)
    real = builder.node("Cast", [sums], _FLOAT, dtype=ir.DataType.FLOAT)
    factors = builder.node("Mul", [left, right], dtype=ir.DataType.FLOAT)
    result = builder.node("Mul", [real, factors], dtype=ir.DataType.FLOAT)
    if bias is None:
        return result
    return builder.node("Add", [result, bias], dtype=ir.DataType.FLOAT)


DYNAMIC_RULES: Mapping[tuple[str, str], Rule] = {
    (CONTRIB, "DynamicQuantizeMatMul"): dynamic_product,
    (CONTRIB, "MatMulIntegerToFloat"): product_to_float,
}
