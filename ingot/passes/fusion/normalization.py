"""What layer normalization and RMS normalization have in common when they are spelled out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import (
    Unfit,
    commuted,
    constant,
    producer,
    rank,
    read_once,
    scalar,
    static_dim,
)
from ingot.passes.fusion.rewriting import Builder

Nodes = frozenset[ir.Node]


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of a value over axes that stay as dimensions of size one."""

    of: ir.Value
    axes: tuple[int, ...] | None
    node: ir.Node

    def trailing(self) -> int:
        """How many trailing axes of its input the mean runs over.

        Raises:
            Unfit: It runs over other axes than the last ones, or that is not known.
        """
        dims = rank(self.of)
        axes = set(self.axes or ())
        if dims is not None:
            axes = {axis % dims for axis in axes} if axes else set(range(dims))
            expected = set(range(dims - len(axes), dims))
        else:
            expected = set(range(-len(axes), 0))
        if not axes or axes != expected:
            raise Unfit("its mean does not run over the last axes")
        return len(axes)


def read_mean(value: ir.Value | None) -> Mean | None:
    """Reads a ReduceMean that keeps its dimensions and whose axes are constant."""
    node = producer(value, "ReduceMean")
    if node is None or node.inputs[0] is None or not node.attributes.get_int("keepdims", 1):
        return None
    if "axes" in node.attributes:  # up to opset 17
        return Mean(node.inputs[0], tuple(node.attributes["axes"].as_ints()), node)
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return Mean(node.inputs[0], None, node)
    axes = constant(node.inputs[1])
    if axes is None:
        return None
    return Mean(node.inputs[0], tuple(int(axis) for axis in axes.reshape(-1)), node)


def read_square(value: ir.Value | None) -> tuple[ir.Value, ir.Node] | None:
    """Reads ``v * v`` or ``v ** 2``; returns v."""
    node = producer(value, "Mul", "Pow")
    if node is None or node.inputs[0] is None:
        return None
    base, other = node.inputs[0], node.inputs[1]
    is_square = scalar(other) == 2.0 if node.op_type == "Pow" else other is base
    return (base, node) if is_square else None


@dataclasses.dataclass(frozen=True)
class Root:
    """``1 / sqrt(mean_square + epsilon)``, times whatever the pattern multiplies it by."""

    mean_square: ir.Value
    epsilon: float
    nodes: Nodes


def read_inverse_root(value: ir.Value | None) -> Root | None:
    """Reads ``1 / sqrt(v + epsilon)`` as a Reciprocal, a Div or a Pow."""
    node = producer(value, "Reciprocal", "Div", "Pow")
    if node is None:
        return None
    if node.op_type == "Pow":
        found = _read_shifted(node.inputs[0]) if scalar(node.inputs[1]) == -0.5 else None
    elif node.op_type == "Reciprocal":
        found = _read_root(node.inputs[0])
    else:
        found = _read_root(node.inputs[1]) if scalar(node.inputs[0]) == 1.0 else None
    return None if found is None else dataclasses.replace(found, nodes=found.nodes | {node})


def _read_root(value: ir.Value | None) -> Root | None:
    node = producer(value, "Sqrt")
    found = None if node is None else _read_shifted(node.inputs[0])
    if found is None or node is None:
        return None
    return dataclasses.replace(found, nodes=found.nodes | {node})


def _read_shifted(value: ir.Value | None) -> Root | None:
    node = producer(value, "Add")
    for shift, inner in () if node is None else commuted(node):
        epsilon = scalar(shift)
        if epsilon is not None and epsilon >= 0.0 and node is not None:
            return Root(inner, epsilon, frozenset({node}))
    return None


def read_quotients(node: ir.Node) -> list[tuple[ir.Value, Root]]:
    """The ways to read a node as ``operand / sqrt(v + epsilon)``, written as Div or as Mul."""
    if node.op_type == "Div":
        root = _read_root(node.inputs[1])
        numerator = node.inputs[0]
        return [] if root is None or numerator is None else [(numerator, root)]
    found = [(operand, read_inverse_root(factor)) for operand, factor in commuted(node)]
    return [(operand, root) for operand, root in found if root is not None]


@dataclasses.dataclass(frozen=True)
class Weight:
    """A scale or bias of the normalized axes: a value that has their shape, or its elements."""

    value: ir.Value
    elements: npt.NDArray[Any] | None

    def emit(self, builder: Builder) -> ir.Value:
        """The value to give to the operator; a constant of another shape is written anew."""
        if self.elements is None:
            return self.value
        return builder.initializer(f"{self.value.name}_expanded", self.elements)


def normalized_dims(x: ir.Value, axes: int) -> tuple[int, ...]:
    """The sizes of the trailing axes.

    Raises:
        Unfit: One of them is unknown: a scale could then enlarge it.
    """
    dims = [static_dim(x, axis) for axis in range(-axes, 0)]
    known = tuple(dim for dim in dims if dim is not None)
    if len(known) < axes:
        raise Unfit("the size of the normalized axes is unknown")
    return known


def read_weight(value: ir.Value | None, x: ir.Value, dims: tuple[int, ...]) -> Weight | None:
    """Reads an operand as a scale or bias over the normalized axes; None if it is something else.

    Args:
        value: What the normalized value is multiplied by, or what is added to it.
        x: What is normalized.
        dims: The sizes of the normalized axes.
    """
    if value is None or value.shape is None:
        return None
    shape = tuple(value.shape)
    if shape == dims:
        return Weight(value, None)
    elements = constant(value)
    if elements is None or elements.ndim > max(rank(x) or 0, len(dims)):
        return None
    leading, trailing = shape[: -len(dims)], shape[-len(dims) :]
    padded = (1,) * (len(dims) - len(trailing)) + trailing
    fits = all(one in (1, dim) for one, dim in zip(padded, dims, strict=True))
    if not fits or any(dim != 1 for dim in leading):
        return None
    return Weight(
        value,
        np.broadcast_to(
            elements.reshape([int(one) for one in padded if isinstance(one, int)]), dims
        ).copy(),
    )


@dataclasses.dataclass(frozen=True)
class Affined:
    """A normalized value with the scale and bias that are applied to it right after."""

    root: ir.Node
    nodes: Nodes
    scale: Weight | None
    bias: Weight | None


def read_affine(
    core: ir.Node, x: ir.Value, dims: tuple[int, ...], operators: Sequence[str] = ("Mul", "Add")
) -> Affined:
    """Follows a normalization to the Mul by its scale and the Add of its bias.

    Args:
        core: The last node of the normalization without them.
        x: What is normalized.
        dims: The sizes of the normalized axes.
        operators: Which of Mul and Add to look for, in this order.
    """
    root, weights = core, dict[str, Weight]()
    for op_type in operators:
        value = root.outputs[0]
        if not read_once(value):
            break
        follower = value.consumers()[0]
        if follower.domain != "" or follower.op_type != op_type or follower.graph is not core.graph:
            continue
        other = follower.inputs[1 if follower.inputs[0] is value else 0]
        weight = read_weight(other, x, dims)
        if weight is None:
            break
        root, weights[op_type] = follower, weight
    nodes = {core, root}
    if len(weights) == 2:
        nodes.add(core.outputs[0].consumers()[0])
    return Affined(root, frozenset(nodes), weights.get("Mul"), weights.get("Add"))


def ones(builder: Builder, x: ir.Value, dims: tuple[int, ...]) -> ir.Value:
    """A scale that changes nothing, for the operators that demand one."""
    dtype = x.dtype or ir.DataType.FLOAT
    return builder.initializer(f"{x.name}_ones", np.ones(dims, dtype.numpy()))


def stash_type(x: ir.Value) -> dict[str, int]:
    """The attribute that keeps double precision; the default computes in float32."""
    return {"stash_type": int(ir.DataType.DOUBLE)} if x.dtype == ir.DataType.DOUBLE else {}
