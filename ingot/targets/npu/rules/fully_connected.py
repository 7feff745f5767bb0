"""Gemm and MatMul with constant weights: a 1 x 1 CONV2D over rows as pixels.

Exactness: TOSA 1.0 has no operator of its own for it. Row ``m`` of the activation is pixel ``m`` of
an image [1, M, 1, K], the weights [N, K] are the filters [N, 1, 1, K]; the sums, their RESCALE and
CLAMP are those of a convolution (see ``convolution``). RESHAPE moves nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.targets.npu.cone import Cone, Unfit, real_constant, static_shape
from ingot.targets.npu.rules.base import Layer, Rule, int_attribute
from ingot.targets.npu.rules.linear import Linear, finished, linear_operands
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FullyConnected(Linear):
    """Rows [..., K] times weights [N, K]."""

    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the product."""
        (x,) = inputs
        rows = int(np.prod(x.shape[:-1], dtype=np.int64))
        pixels = graph.reshape(x, (1, rows, 1, x.shape[-1]))
        sums = graph.conv2d(
            pixels, self.weights[:, None, None, :], self.bias, self.source.grid.zero_point,
            strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1),
        )  # fmt: skip
        result = finished(graph, sums, self.factors, self.grid, self.bounds)
        return graph.reshape(result, (*x.shape[:-1], len(self.weights)))


class FullyConnectedRule(Rule):
    """Gemm without factors, and MatMul by a matrix, perhaps with a bias added behind."""

    name: ClassVar[str] = "fully_connected"

    def match(self, cone: Cone) -> Layer:
        """Reads a Gemm or MatMul."""
        node, bias = _product(cone)
        columns = 1
        if node.op_type == "Gemm":
            given = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
            if any(factor != 1.0 for factor in given) or int_attribute(node, "transA", 0):
                raise Unfit("a Gemm with factors or a transposed activation")
            columns = 1 - int_attribute(node, "transB", 0)
        source, weights, integers, factors = linear_operands(cone, node, columns)
        if weights.ndim != 2:
            raise Unfit(f"weights of {weights.ndim} axes")
        if bias is not None:
            unit = factors if cone.grid is None else factors * cone.grid.scale
            integers = integers + np.rint(np.broadcast_to(bias.reshape(-1), unit.shape) / unit)
        out = static_shape(node.outputs[0])
        return FullyConnected(
            source=source,
            weights=weights if columns == 0 else np.ascontiguousarray(weights.T),
            bias=integers.astype(np.int64),
            factors=factors,
            grid=cone.grid,
            bounds=(0, 0) if cone.grid is None else cone.integer_bounds(),
            macs=int(np.prod(out, dtype=np.int64)) * weights.shape[1 - columns],
        )


def _product(cone: Cone) -> tuple[ir.Node, Array | None]:
    """Returns the product of a cone, and the bias that an Add behind it brings."""
    body = cone.body
    if len(body) == 2 and body[0].op_type == "MatMul" and body[1].op_type == "Add":
        others = [value for value in body[1].inputs if value is not body[0].outputs[0]]
        bias = real_constant(others[0]) if len(others) == 1 else None
        if bias is not None and bias.size in (1, static_shape(body[0].outputs[0])[-1]):
            return body[0], bias
    node = cone.only()
    if node.op_type not in ("Gemm", "MatMul"):
        raise Unfit("not a product with weights")
    return node, None
