"""Following the integer tensors that exporters compute shapes with.

PyTorch writes the target of a reshape as a Concat of elements gathered from Shape, and that of an
expand as Where(Equal(shape, -1), 1, shape); either is known as soon as the dimensions are.
"""

from __future__ import annotations

from typing import Protocol

import onnx_ir as ir

# A dimension: a size, or a name for one; see the module dimensions.
Dim = int | str
Dims = tuple[Dim, ...]


class Dimensions(Protocol):
    """What following needs to know: see :class:`ingot.onnx_graph.dimensions.Dimensions`."""

    def of(self, value: ir.Value | None) -> Dims | None:
        """The dimensions of a value."""

    def contents(self, value: ir.Value | None) -> Dims | None:
        """The elements of a small integer tensor."""

    def plus(self, dim: Dim, number: int) -> Dim:
        """A dimension plus a number."""


def follow_contents(dimensions: Dimensions, node: ir.Node) -> Dims | None:
    """The elements of a node's first output, if it is an integer tensor of known elements.

    Truth values are 0 and 1. A scalar is a tensor of one element.
    """
    if node.op_type == "Shape":
        dims = dimensions.of(node.inputs[0])
        start = node.attributes.get_int("start", 0)
        return None if dims is None else dims[start : node.attributes.get_int("end", len(dims))]
    found = [dimensions.contents(value) for value in node.inputs]
    operands = [contents for contents in found if contents is not None]
    if not operands or len(operands) < len(found):
        return None
    if node.op_type in _SAME:
        gains_a_dimension = node.op_type == "Unsqueeze" and len(operands[0]) > 1
        return None if gains_a_dimension else operands[0]
    if node.op_type == "Concat":
        return tuple(dim for part in operands for dim in part)
    follow = {
        "Add": _follow_sum,
        "ConstantOfShape": _follow_constant_of_shape,
        "Equal": _follow_equal,
        "Gather": _follow_gather,
        "Mul": _follow_product,
        "Slice": _follow_slice,
        "Sub": _follow_sum,
        "Where": _follow_where,
    }.get(node.op_type)
    return None if follow is None else follow(dimensions, node, operands)


# Their further inputs are axes.
_SAME = ("Cast", "Unsqueeze", "Squeeze", "Identity")


def _follow_sum(dimensions: Dimensions, node: ir.Node, operands: list[Dims]) -> Dims | None:
    left, right = operands
    if not len(left) == len(right) == 1:
        return None
    base, number = left[0], right[0]
    if node.op_type == "Add" and isinstance(base, int):
        base, number = number, base
    if not isinstance(number, int):
        return None
    return (dimensions.plus(base, number if node.op_type == "Add" else -number),)


def _follow_product(_: Dimensions, _node: ir.Node, operands: list[Dims]) -> Dims | None:
    left, right = _aligned(operands)
    products: list[Dim] = []
    for one, other in zip(left, right, strict=True):
        if isinstance(one, int) and isinstance(other, int):
            products.append(one * other)
        elif 1 in (one, other):
            products.append(other if one == 1 else one)
        else:
            return None
    return tuple(products)


def _follow_constant_of_shape(_: Dimensions, node: ir.Node, operands: list[Dims]) -> Dims | None:
    tensor = node.attributes.get_tensor("value", None)
    if len(operands[0]) != 1 or not isinstance(operands[0][0], int) or tensor is None:
        return None
    if not tensor.dtype.is_integer():
        return None
    return (int(tensor.numpy().reshape(())),) * operands[0][0]


def _follow_gather(_: Dimensions, _node: ir.Node, operands: list[Dims]) -> Dims | None:
    data, chosen = operands
    if not all(isinstance(i, int) and -len(data) <= i < len(data) for i in chosen):
        return None
    return tuple(data[int(i)] for i in chosen)


def _follow_slice(_: Dimensions, _node: ir.Node, operands: list[Dims]) -> Dims | None:
    data, bounds = operands[0], [*operands[1:3], *operands[4:5]]
    if any(len(bound) != 1 or not isinstance(bound[0], int) for bound in bounds):
        return None
    return data[slice(*(int(bound[0]) for bound in bounds))]


def _follow_equal(_: Dimensions, _node: ir.Node, operands: list[Dims]) -> Dims | None:
    left, right = _aligned(operands)
    result: list[Dim] = []
    for one, other in zip(left, right, strict=True):
        sizes = [dim for dim in (one, other) if isinstance(dim, int)]
        if one == other or len(sizes) == 2:
            result.append(int(one == other))
        elif sizes and sizes[0] < 0:  # no dimension is negative
            result.append(0)
        else:
            return None
    return tuple(result)


def _follow_where(_: Dimensions, _node: ir.Node, operands: list[Dims]) -> Dims | None:
    chosen = zip(*_aligned(operands), strict=True)
    return tuple(yes if condition else no for condition, yes, no in chosen)


def _aligned(operands: list[Dims]) -> list[Dims]:
    """The operands, those of one element repeated to the length of the longest."""
    length = max(map(len, operands))
    return [operand * length if len(operand) == 1 else operand for operand in operands]
