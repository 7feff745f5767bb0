"""A graph without the rounding of its activations: what its integers, or 16 bits, approximate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ingot.onnx_graph.edits import Names
from ingot.onnx_graph.matching import constant, constant_tensor, producer, rank

_DYNAMIC = "DynamicQuantizeLinear"
_INTEGER_PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


def has_quantized_activations(model: ir.Model) -> bool:
    """Whether values that depend on the inputs are quantized in the main graph."""
    return any(_is_activation(node) or _is_dynamic(node) for node in model.graph)


def without_rounding(model: ir.Model) -> ir.Model:
    """A copy in which a quantized activation is only clipped to the range of its integers.

    One that is cast to 16 bits and back is not rounded.

    Its outputs differ from those of the graph by the noise of rounding activations alone: the
    measure of how far apart two correct implementations of the graph may come to lie.

    Pairs with a scale per channel are left as they are, and so are activations that are quantized
    dynamically where anything but a product of integers reads them.
    """
    copy = model.clone()
    smoother = _Smoother(copy.graph, Names(copy))
    for node in list(copy.graph):
        if _is_activation(node):
            smoother.clip(node)
        elif _is_dynamic(node):
            smoother.multiply_reals(node)
        elif _rounds_to_sixteen_bits(node):
            smoother.read_unrounded(node)
    return copy


class _Smoother:
    def __init__(self, graph: ir.Graph, names: Names) -> None:
        self._graph = graph
        self._names = names

    def clip(self, node: ir.Node) -> None:
        """Replaces a QuantizeLinear, and what dequantizes its integers, by a Clip."""
        bounds = _bounds(node)
        readers = node.outputs[0].consumers()
        if bounds is None or any(reader.op_type != "DequantizeLinear" for reader in readers):
            return
        limits = []
        for wanted, bound in zip(("low", "high"), bounds, strict=True):
            name = self._names.fresh(f"{node.name}_{wanted}")
            limit = ir.Value(name=name, const_value=ir.tensor(np.float32(bound), name=name))
            self._graph.register_initializer(limit)
            limits.append(limit)
        clipped = self._node(node, "Clip", [node.inputs[0], *limits])
        for reader in readers:
            self._replace(reader, clipped)
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            self._graph.remove(node, safe=True)

    def read_unrounded(self, node: ir.Node) -> None:
        """Hands a value that is cast to 16 bits to what casts it back to float32."""
        source = node.inputs[0]
        assert source is not None
        for reader in node.outputs[0].consumers():
            if reader.op_type == "Cast" and reader.outputs[0].dtype == source.dtype:
                self._replace(reader, source)

    def multiply_reals(self, node: ir.Node) -> None:
        """Lets products of dynamically quantized integers multiply what these stand for.

        Their sums become floats in units of the scale, which the Cast behind them hands on.
        """
        values, scale = node.inputs[0], node.outputs[1]
        products = node.outputs[0].consumers()
        casts = [reader for product in products for reader in product.outputs[0].consumers()]
        if any(product.op_type not in _INTEGER_PRODUCTS for product in products):
            return
        if any(cast.op_type != "Cast" for cast in casts):
            return
        if any(product.outputs[0].is_graph_output() for product in products):
            return
        for product in products:
            ratio = self._node(product, "Div", [values, scale])
            weights = self._centred(product)
            attributes = list(product.attributes.values())
            operator = _INTEGER_PRODUCTS[product.op_type]
            sums = self._node(product, operator, [ratio, weights], attributes)
            for cast in product.outputs[0].consumers():
                self._replace(cast, sums)
            self._graph.remove(product, safe=True)

    def _centred(self, product: ir.Node) -> ir.Value:
        """The weights of a product of integers less their zero points, as floats."""
        to_float = ir.convenience.convert_attributes({"to": int(ir.DataType.FLOAT)})
        real = self._node(product, "Cast", [product.inputs[1]], to_float)
        zero = product.inputs[3] if len(product.inputs) > 3 else None
        if zero is None:
            return real
        centre = self._node(product, "Cast", [zero], to_float)
        axes = (rank(product.inputs[1]) or 1) - 1
        if product.op_type == "ConvInteger" and rank(zero) == 1:
            shape = np.array([-1, *[1] * axes])
            name = self._names.fresh(f"{product.name}_shape")
            value = ir.Value(name=name, const_value=ir.tensor(shape, name=name))
            self._graph.register_initializer(value)
            centre = self._node(product, "Reshape", [centre, value])
        return self._node(product, "Sub", [real, centre])

    def _node(
        self,
        anchor: ir.Node,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Value:
        node = ir.Node(
            "", operator, inputs, attributes, name=self._names.fresh(f"{anchor.name}/{operator}")
        )
        node.outputs[0].name = self._names.fresh(f"{node.name}_output")
        self._graph.insert_before(anchor, node)
        return node.outputs[0]

    def _replace(self, node: ir.Node, value: ir.Value) -> None:
        """Puts an Identity in a node's place, since an output of the graph keeps its name."""
        identity = ir.Node("", "Identity", [value], name=self._names.fresh(f"{node.name}/Id"))
        ir.convenience.replace_nodes_and_values(
            self._graph, node, [node], [identity], node.outputs, identity.outputs
        )


def _is_activation(node: ir.Node) -> bool:
    return (
        node.domain == ""
        and node.op_type == "QuantizeLinear"
        and constant_tensor(node.inputs[0]) is None
        and producer(node.inputs[0], "Constant") is None
    )


def _rounds_to_sixteen_bits(node: ir.Node) -> bool:
    return (
        node.domain == ""
        and node.op_type == "Cast"
        and node.outputs[0].dtype in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
        and node.inputs[0] is not None
        and node.inputs[0].dtype == ir.DataType.FLOAT
    )


def _is_dynamic(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type == _DYNAMIC


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    scale = constant(node.inputs[1])
    zero_point = constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros((), np.uint8)
    if scale is None or zero_point is None or scale.size != 1:
        return None
    if zero_point.dtype not in (np.int8, np.uint8, np.int16, np.uint16):
        return None
    limits = np.iinfo(zero_point.dtype)
    offset, step = int(zero_point.reshape(())), float(scale.reshape(()))
    return (limits.min - offset) * step, (limits.max - offset) * step
