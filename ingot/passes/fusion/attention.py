"""Scaled dot-product attention in its spelled-out forms.

Vaswani et al., "Attention Is All You Need" (2017): softmax(Q K^T * scale + mask) V.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ingot.passes.base import PassOptions
from ingot.passes.fusion.dimensions import Dim, Dimensions, Dims
from ingot.passes.fusion.matching import (
    WIDE_FLOATS,
    commuted,
    producer,
    read_once,
    require_dtype,
    require_shape_kept,
    scalar,
)
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass, Unfit

Nodes = frozenset[ir.Node]
_SWAPPED = (0, 1, 3, 2)
# The longest way back from a softmax to Q K^T: two masks, a scale, a selection.
_LONGEST_WAY = 5


@dataclasses.dataclass(frozen=True)
class _Scaled:
    """A value times a constant, and the nodes that multiply."""

    value: ir.Value
    scale: float
    nodes: Nodes


@dataclasses.dataclass(frozen=True)
class _Scores:
    """What goes into the softmax.

    Attributes:
        product: The MatMul of queries and transposed keys.
        scale: What it is multiplied by afterwards.
        added: Values added to the scores.
        allowed: True where a key takes part; the bool says that the value is to be negated.
        nodes: All nodes up to the softmax.
    """

    product: ir.Node
    scale: float
    added: tuple[ir.Value, ...]
    allowed: tuple[ir.Value, bool] | None
    nodes: Nodes


@dataclasses.dataclass(frozen=True)
class _Keys:
    """Keys as [batch, heads, sequence, size]: ``source`` transposed, unless perm is None."""

    source: ir.Value
    perm: tuple[int, ...] | None
    scale: float
    nodes: Nodes
    spared: tuple[ir.Node, ...]

    def emit(self, builder: Builder) -> ir.Value:
        if self.perm is None:
            return self.source
        dims = self.source.shape
        shape = None if dims is None else ir.Shape([dims[axis] for axis in self.perm])
        attributes = {"perm": list(self.perm)}
        return builder.node(
            "Transpose", [self.source], attributes, dtype=self.source.dtype, shape=shape
        )


class FuseAttention(FusionPass[PassOptions]):
    """Spelled-out attention of four-dimensional Q, K and V to Attention (opset 23).

    The node's inputs are Q [batch, heads, queries, size], K [batch, heads, keys, size],
    V [batch, heads, keys, value size] and, where there is a mask, the mask with queries and keys
    as its last two dimensions; ``scale`` is always written. The standard would also let the
    operator broadcast those two, but ONNX Runtime does not, so that such a mask is expanded by a
    node before; layers that share the mask share that node. Transposes that split and join heads
    stay outside.

    Rows of a mask that exclude all keys by minus infinity become zeros, where the spelled-out form
    gives NaN.
    """

    name: ClassVar[str] = "fusion.attention"
    summary: ClassVar[str] = "Recognize scaled dot-product attention from its spelled-out form."
    candidates: ClassVar[frozenset[str]] = frozenset({"MatMul"})
    forward: ClassVar[bool] = True

    def prepare(self, graph: ir.Graph) -> None:
        """Follows the graph's dimensions, which decide whether a mask fits."""
        self._dimensions = Dimensions(graph)
        self._expanded: dict[tuple[ir.Value, bool, Dim, Dim], ir.Value] = {}

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches the product of probabilities and values."""
        values = node.inputs[1]
        softmax, guards = _read_probabilities(node.inputs[0])
        if softmax is None or values is None or softmax.inputs[0] is None:
            return None
        scores = _read_scores(softmax.inputs[0])
        if scores is None:
            return None
        if softmax.attributes.get_int("axis", -1) not in (-1, 3):
            raise Unfit("its softmax does not run over the keys")
        queries, keys = _read_queries(scores.product), _read_keys(scores.product)
        scale = queries.scale * keys.scale * scores.scale
        # ONNX Runtime refuses others; the operator takes the scale's square root.
        if not (math.isfinite(scale) and scale > 0.0):
            raise Unfit(f"its scale, {scale:g}, is not positive")
        region = scores.nodes | guards | queries.nodes | keys.nodes | {node, softmax}
        for operand in (queries.value, keys.source, values):
            require_dtype(operand, WIDE_FLOATS)
        target = self._target(queries.value, keys, values)
        masks = [*scores.added, *([scores.allowed[0]] if scores.allowed else [])]
        for mask in masks:
            self._require_fits(mask, target)
        if scores.allowed and scores.added:
            raise Unfit("it both adds a mask and selects by one")
        require_shape_kept(queries.value, region)

        def build(builder: Builder) -> ir.Value:
            key_value = keys.emit(builder)
            inputs = [queries.value, key_value, values]
            if masks:
                inputs.append(self._mask(builder, scores, target, queries.value, key_value))
            return builder.node("Attention", inputs, {"scale": scale})

        return Fusion(node, region, build, keys.spared, opset=23, operator="Attention")

    def _target(self, queries: ir.Value, keys: _Keys, values: ir.Value) -> Dims:
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
        scores: _Scores,
        target: Dims,
        queries: ir.Value,
        keys: ir.Value,
    ) -> ir.Value:
        if scores.allowed is None:
            mask = scores.added[0]
            for other in scores.added[1:]:
                mask = builder.node("Add", [mask, other], dtype=mask.dtype)
            negated = False
        else:
            mask, negated = scores.allowed
        key = (mask, negated, target[2], target[3])
        if key in self._expanded:
            return self._expanded[key]
        dims = [self._dimensions.of(value) or () for value in (*scores.added, mask)]
        rows = {d[-2] if len(d) > 1 else 1 for d in dims} - {1}
        columns = {d[-1] if d else 1 for d in dims} - {1}
        result = mask
        if negated:
            result = builder.node("Not", [mask], dtype=ir.DataType.BOOL, shape=mask.shape)
        if (
            (not rows and target[2] != 1)
            or (not columns and target[3] != 1)
            or max(map(len, dims)) < 2
        ):
            sizes = [
                (queries, target[2] if not rows else 1),
                (keys, target[3] if not columns else 1),
            ]
            result = _expand(builder, result, sizes)
        self._expanded[key] = result
        return result


def _expand(builder: Builder, mask: ir.Value, sizes: list[tuple[ir.Value, Dim]]) -> ir.Value:
    """Broadcasts the last two dimensions of a mask.

    Args:
        builder: Makes the nodes.
        mask: What to broadcast.
        sizes: For each of the two, the wanted size (one keeps what is there), and the value whose
            third dimension it is.
    """
    fixed = [size for _, size in sizes if isinstance(size, int)]
    if len(fixed) == len(sizes):
        shape = builder.initializer(f"{mask.name}_expanded_shape", np.array(fixed, np.int64))
    else:
        parts = [
            builder.initializer(f"{mask.name}_expanded_dim", np.array([size], np.int64))
            if isinstance(size, int)
            else builder.node(
                "Shape",
                [source],
                {"start": 2, "end": 3},
                dtype=ir.DataType.INT64,
                shape=ir.Shape([1]),
            )
            for source, size in sizes
        ]
        shape = builder.node(
            "Concat", parts, {"axis": 0}, dtype=ir.DataType.INT64, shape=ir.Shape([len(parts)])
        )
    return builder.node("Expand", [mask, shape], dtype=mask.dtype)


def _read_probabilities(value: ir.Value | None) -> tuple[ir.Node | None, Nodes]:
    """Reads a Softmax, also one whose NaN (of rows without a key) are replaced by zeros."""
    select = producer(value, "Where")
    if select is None:
        return producer(value, "Softmax"), frozenset()
    test, zero, probabilities = select.inputs
    is_nan = producer(test, "IsNaN")
    if is_nan is None or is_nan.inputs[0] is not probabilities or scalar(zero) != 0.0:
        return None, frozenset()
    return producer(probabilities, "Softmax"), frozenset({select, is_nan})


def _read_scores(value: ir.Value | None, steps: int = _LONGEST_WAY) -> _Scores | None:
    node = producer(value, "MatMul", "Add", "Mul", "Div", "Where")
    if node is None or steps == 0:
        return None
    if node.op_type == "MatMul":
        return _Scores(node, 1.0, (), None, frozenset({node}))
    if node.op_type == "Where":
        return _read_selection(node, steps)
    if node.op_type == "Add":
        for inner_value, added in commuted(node):
            inner = _read_scores(inner_value, steps - 1)
            if inner is not None:
                masks, nodes = (*inner.added, added), inner.nodes | {node}
                return dataclasses.replace(inner, added=masks, nodes=nodes)
        return None
    scaled = _read_scaled(node.outputs[0], once=False)
    inner = None if not scaled.nodes else _read_scores(scaled.value, steps - 1)
    if inner is None:
        return None
    if inner.added or inner.allowed:
        raise Unfit("its mask is scaled together with the scores")
    scale, nodes = inner.scale * scaled.scale, inner.nodes | scaled.nodes
    return dataclasses.replace(inner, scale=scale, nodes=nodes)


def _read_selection(node: ir.Node, steps: int) -> _Scores | None:
    """Reads ``where(allowed, scores, -inf)``, or with the two exchanged."""
    condition, if_true, if_false = node.inputs
    for scores, fill, negated in ((if_true, if_false, False), (if_false, if_true, True)):
        low = scalar(fill)
        inner = None if low is None else _read_scores(scores, steps - 1)
        if inner is None or low is None or condition is None:
            continue
        if low != -math.inf:
            # With a finite number, a row without any key averages all values; the operator
            # gives zeros for it.
            raise Unfit(f"its mask fills with {low:g}, not minus infinity")
        if inner.allowed is not None:
            raise Unfit("it selects by two masks")
        nodes = inner.nodes | {node}
        return dataclasses.replace(inner, allowed=(condition, negated), nodes=nodes)
    return None


def _read_scaled(value: ir.Value, *, once: bool = True) -> _Scaled:
    """Follows one multiplication or division by a constant back, if there is one."""
    node = producer(value, "Mul", "Div")
    if node is not None and (not once or read_once(value)):
        for operand, factor in commuted(node)[: 1 if node.op_type == "Div" else 2]:
            number = scalar(factor)
            if number is not None and number != 0.0:
                scale = number if node.op_type == "Mul" else 1.0 / number
                return _Scaled(operand, scale, frozenset({node}))
    return _Scaled(value, 1.0, frozenset())


def _read_queries(product: ir.Node) -> _Scaled:
    value = product.inputs[0]
    if value is None:
        raise Unfit("its queries are missing")
    return _read_scaled(value)


def _read_keys(product: ir.Node) -> _Keys:
    """Undoes the transposition of the keys, and scaling before or after it."""
    value = product.inputs[1]
    if value is None:
        raise Unfit("its keys are missing")
    outer = _read_scaled(value)
    transpose = producer(outer.value, "Transpose")
    if transpose is None or transpose.inputs[0] is None:
        return _Keys(outer.value, _SWAPPED, outer.scale, outer.nodes, ())
    perm = transpose.attributes.get_ints("perm", ()) or ()
    if len(perm) != 4:
        return _Keys(outer.value, _SWAPPED, outer.scale, outer.nodes, ())
    inner = (
        _read_scaled(transpose.inputs[0])
        if read_once(outer.value)
        else _Scaled(transpose.inputs[0], 1.0, frozenset())
    )
    swapped = tuple(perm[axis] for axis in _SWAPPED)
    keys_perm = None if swapped == tuple(range(4)) else swapped
    scale = outer.scale * inner.scale
    if inner.nodes:  # the transpose reads what vanishes, so it vanishes too
        nodes = outer.nodes | inner.nodes | {transpose}
        return _Keys(inner.value, keys_perm, scale, nodes, ())
    return _Keys(inner.value, keys_perm, scale, outer.nodes, (transpose,))
