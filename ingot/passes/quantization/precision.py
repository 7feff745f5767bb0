"""What precision each layer of a graph computes in, read off its QDQ operators and casts."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from ingot.onnx_graph.matching import constant_tensor, producer
from ingot.passes.quantization.linear import LINEAR_OPERATORS

_NAMES: Mapping[ir.DataType, str] = {
    ir.DataType.INT8: "int8",
    ir.DataType.UINT8: "uint8",
    ir.DataType.INT4: "int4",
    ir.DataType.UINT4: "uint4",
    ir.DataType.BFLOAT16: "bf16",
    ir.DataType.FLOAT16: "fp16",
}


def layer_precisions(graph: ir.Graph) -> dict[str, str]:
    """The precision of each layer with weights, in order.

    Returns:
        By node name: ``bf16`` or ``fp16`` where both operands are; ``int8`` where weights and
        activation are integers of 8 bits, ``int16 x int8`` where activations have 16, ``int8
        weights`` (or another type's) where only the weights are stored so, ``fp32`` where neither
        is.
    """
    found = {}
    for node in graph:
        if node.domain != "" or node.op_type not in LINEAR_OPERATORS:
            continue
        weights = _stored_as(node.inputs[1])
        short = _sixteen_bits(node.inputs[0])
        if short is not None and short == _sixteen_bits(node.inputs[1]):
            found[str(node.name)] = short
            continue
        if weights is None and constant_tensor(node.inputs[1]) is None:
            continue
        activation = producer(node.inputs[0], "DequantizeLinear")
        if weights is None:
            found[str(node.name)] = "fp32"
        elif activation is None:
            found[str(node.name)] = f"{weights} weights"
        elif (stored := activation.inputs[0]) is not None and stored.dtype == ir.DataType.INT16:
            found[str(node.name)] = f"int16 x {weights}"
        else:
            found[str(node.name)] = weights
    return found


def _sixteen_bits(value: ir.Value | None) -> str | None:
    """The type of 16 bits that a value is cast from."""
    node = producer(value, "Cast")
    source = None if node is None else node.inputs[0]
    if source is None or source.dtype not in (ir.DataType.BFLOAT16, ir.DataType.FLOAT16):
        return None
    return _NAMES[source.dtype]


def _stored_as(value: ir.Value | None) -> str | None:
    node = producer(value, "DequantizeLinear", "Cast")
    source = None if node is None else constant_tensor(node.inputs[0])
    return None if source is None else _NAMES.get(source.dtype)
