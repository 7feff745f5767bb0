"""Scaled dot-product attention in its spelled-out forms.

Vaswani et al., "Attention Is All You Need" (2017): softmax(Q K^T * scale + mask) V.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ingot.onnx_graph.dimensions import Dimensions
from ingot.onnx_graph.matching import WIDE_FLOATS, Unfit, require_dtype, require_shape_kept
from ingot.onnx_graph.shape_contents import Dim, Dims
from ingot.passes.base import PassOptions
from ingot.passes.fusion.attention_operands import (
    Keys,
    OperandReader,
    read_probabilities,
)
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass


class FuseAttention(FusionPass[PassOptions]):
    """Spelled-out attention of four-dimensional Q, K and V to Attention (opset 23).

    The node's inputs are Q [batch, heads, queries, size], K [batch, heads, keys, size],
    V [batch, heads, keys, value size] and, where there is a mask, the mask with queries and keys
    as its last two dimensions; ``scale`` is always written. The standard would also let the
    operator broadcast those two, but ONNX Runtime does not, so that such a mask is expanded by a
    node before; layers that share the mask share that node. Transposes that split and join heads
    stay outside.

    The operator gives zeros for a row of which a mask excludes all keys. The spelled-out form does
    so only where it replaces what is no number: without that, a softmax over minus infinities is
    none, and one over the lowest number is a mean. Such an attention stays as it is; the CPU
    target recognizes it in its own way.
    """

    name: ClassVar[str] = "fusion.attention"
    summary: ClassVar[str] = "Recognize scaled dot-product attention from its spelled-out form."
    candidates: ClassVar[frozenset[str]] = frozenset({"MatMul"})
    forward: ClassVar[bool] = True

    def prepare(self, graph: ir.Graph) -> None:
        """Follows the graph's dimensions, which decide whether a mask fits."""
        self._dimensions = Dimensions(graph)
        self._operands = OperandReader(self._dimensions)
        self._expanded: dict[tuple[ir.Value, bool, Dim, Dim], ir.Value] = {}

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches the product of probabilities and values."""
        values = node.inputs[1]
        softmax, guards = read_probabilities(node.inputs[0])
        if softmax is None or values is None or softmax.inputs[0] is None:
            return None
        scores = self._operands.scores(softmax.inputs[0])
        if scores is None:
            return None
        if softmax.attributes.get_int("axis", -1) not in (-1, 3):
            raise Unfit("its softmax does not run over the keys")
        queries = self._operands.queries(scores.product)
        keys = self._operands.keys(scores.product)
        scale = queries.scale * keys.scale * scores.scale
        # ONNX Runtime refuses others; the operator takes the scale's square root.
        if not (math.isfinite(scale) and scale > 0.0):
            raise Unfit(f"its scale, {scale:g}, is not positive")
        region = scores.nodes | guards | queries.nodes | keys.nodes | {node, softmax}
        for operand in (queries.value, keys.source, values):
            require_dtype(operand, WIDE_FLOATS)
        target = self._target(queries.value, keys, values)
        if scores.added or (scores.allowed and not guards):
            raise Unfit(
                "of a row without any key its mask makes something else than zeros, which the "
                "operator gives"
            )
        if scores.allowed:
            self._require_fits(scores.allowed[0], target)
        require_shape_kept(queries.value, region)

        def build(builder: Builder) -> ir.Value:
            key_value = keys.emit(builder)
            inputs = [queries.value, key_value, values]
            if scores.allowed:
                operands = (queries.value, key_value)
                inputs.append(self._mask(builder, scores.allowed, target, operands))
            return builder.node("Attention", inputs, {"scale": scale})

        return Fusion(node, region, build, keys.spared, opset=23, operator="Attention")

    def _target(self, queries: ir.Value, keys: Keys, values: ir.Value) -> Dims:
        """The dimensions of the scores: batch, heads, queries, keys."""
        q, v = self._dimensions.of(queries), self._dimensions.of(values)
        k = self._dimensions.of(keys.source)
        if q is None or k is None or v is None or not len(q) == len(k) == len(v) == 4:
            raise Unfit("its queries, keys or values are not known to have four dimensions")
        if keys.perm is not None:
            k = tuple(k[axis] for axis in keys.perm)
        for axis, meaning in ((0, "batch"), (1, "heads")):
            if not q[axis] == k[axis] == v[axis]:
                raise Unfit(
                    f"queries, keys and values are not known to agree in their {meaning}: "
                    f"{q[axis]}, {k[axis]}, {v[axis]}"
                )
        return (q[0], q[1], q[2], k[2])

    def _require_fits(self, mask: ir.Value, target: Dims) -> None:
        dims = self._dimensions.of(mask)
        if dims is None or len(dims) > 4:
            raise Unfit(f"the dimensions of its mask '{mask.name}' are unknown or more than four")
        for dim, wanted in zip(reversed(dims), reversed(target), strict=False):
            if dim not in (1, wanted):
                raise Unfit(
                    f"its mask '{mask.name}' is not known to broadcast to the scores: "
                    f"{dim} against {wanted}"
                )

    def _mask(
        self,
        builder: Builder,
        allowed: tuple[ir.Value, bool],
        target: Dims,
        operands: tuple[ir.Value, ir.Value],
    ) -> ir.Value:
        """The mask, of which true is a key that takes part, with the target's last dimensions."""
        mask, negated = allowed
        key = (mask, negated, target[2], target[3])
        if key in self._expanded:
            return self._expanded[key]
        dims = self._dimensions.of(mask) or ()
        rows = dims[-2] if len(dims) > 1 else 1
        columns = dims[-1] if dims else 1
        result = mask
        if negated:
            shape = None if mask.shape is None else mask.shape.copy()
            result = builder.node("Not", [mask], dtype=ir.DataType.BOOL, shape=shape)
        if (rows == 1 != target[2]) or (columns == 1 != target[3]) or len(dims) < 2:
            queries, keys = operands
            sizes = [
                (queries, target[2] if rows == 1 else 1),
                (keys, target[3] if columns == 1 else 1),
            ]
            result = _expand(builder, result, sizes, max(len(dims) - 2, 0))
        self._expanded[key] = result
        return result


def _expand(
    builder: Builder, mask: ir.Value, sizes: list[tuple[ir.Value, Dim]], leading: int
) -> ir.Value:
    """Broadcasts the last two dimensions of a mask.

    Args:
        builder: Makes the nodes.
        mask: What to broadcast.
        sizes: For each of the two, the wanted size (one keeps what is there), and the value whose
            third dimension it is.
        leading: How many dimensions the mask has before them.
    """
    ones = [1] * leading
    fixed = [*ones, *(size for _, size in sizes if isinstance(size, int))]
    int64, one = ir.DataType.INT64, ir.Shape([1])
    if len(fixed) == leading + len(sizes):
        shape = builder.initializer(f"{mask.name}_expanded_shape", np.array(fixed, np.int64))
    else:
        parts = []
        if leading:
            parts.append(builder.initializer(f"{mask.name}_leading", np.array(ones, np.int64)))
        for source, size in sizes:
            if isinstance(size, int):
                name = f"{mask.name}_expanded_size"
                parts.append(builder.initializer(name, np.array([size], np.int64)))
            else:
                bounds = {"start": 2, "end": 3}
                parts.append(builder.node("Shape", [source], bounds, dtype=int64, shape=one))
        joined = ir.Shape([leading + len(sizes)])
        shape = builder.node("Concat", parts, {"axis": 0}, dtype=int64, shape=joined)
    return builder.node("Expand", [mask, shape], dtype=mask.dtype)
