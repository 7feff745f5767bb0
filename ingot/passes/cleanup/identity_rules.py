"""When an operator is the identity: one rule per operator.

A rule returns the input that the node's first output equals, or None. It must be sure: of the
shape too, for an operand of more dimensions than the input would add some, and of the dtype, which
no rule may change. References are to the operators' pages in ONNX's specification.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.passes.cleanup.constants import constant, integers, rank, static_shape
from ingot.passes.cleanup.purity import may_drop

# Slice: "for slicing to the end of a dimension with unknown size, it is recommended to pass
# INT_MAX"; exporters do, for either width of the index.
_TO_THE_END = 2**31 - 1


class Undecided(Exception):  # noqa: N818 - it ends a rule, it is no error
    """The operator may well be the identity, but the rule is not allowed to take it for one."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What a rule needs to know besides the node.

    Attributes:
        opset: The version of ONNX's operator set.
        ignore_zero_sign: Whether x + 0.0 counts as x.
    """

    opset: int
    ignore_zero_sign: bool = False


Rule = Callable[[ir.Node, Context], ir.Value | None]


def _identity(node: ir.Node, _: Context) -> ir.Value | None:
    return node.inputs[0]


def _only_input(node: ir.Node, _: Context) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _dropout(node: ir.Node, context: Context) -> ir.Value | None:
    return None if may_drop(node, context.opset) else node.inputs[0]


def _cast(node: ir.Node, _: Context) -> ir.Value | None:
    value = node.inputs[0]
    if value is None or value.dtype is None:
        return None
    return value if value.dtype == node.attributes.get_int("to", 0) else None


def _cast_like(node: ir.Node, _: Context) -> ir.Value | None:
    value, target = node.inputs[0], node.inputs[1]
    if value is None or target is None or value.dtype is None:
        return None
    return value if value.dtype == target.dtype else None


def _reshape(node: ir.Node, context: Context) -> ir.Value | None:
    value = node.inputs[0]
    if context.opset < 5 or len(node.inputs) < 2 or node.inputs[1] is None:
        return None
    if _is_shape_of(node.inputs[1], value):
        return value
    target, shape = integers(node.inputs[1]), static_shape(value)
    if target is None or shape is None or len(target) != len(shape):
        return None
    copies_zero = node.attributes.get_int("allowzero", 0) == 0
    inferred = [
        axis
        for axis, (wanted, size) in enumerate(zip(target, shape, strict=True))
        if not (wanted == size or (wanted == 0 and copies_zero))
    ]
    if not inferred:
        return value
    # One -1 stands for what is left, which is the size there if all others are kept. With an
    # empty dimension among the others it could not be told, and ONNX forbids it.
    is_rest = len(inferred) == 1 and target[inferred[0]] == -1
    return value if is_rest else None


def _is_shape_of(shape: ir.Value, value: ir.Value | None) -> bool:
    node = shape.producer()
    return (
        node is not None
        and node.op_type == "Shape"
        and node.domain == ""
        and node.inputs[0] is value
        and node.attributes.get_int("start", 0) == 0
        and "end" not in node.attributes
    )


def _transpose(node: ir.Node, _: Context) -> ir.Value | None:
    perm = node.attributes.get_ints("perm", None)
    dims = rank(node.inputs[0])
    if perm is None and dims is not None:
        perm = tuple(reversed(range(dims)))
    return node.inputs[0] if perm is not None and list(perm) == sorted(perm) else None


def _pad(node: ir.Node, _: Context) -> ir.Value | None:
    pads = _ints(node, "pads", 1)
    return node.inputs[0] if pads is not None and not any(pads) else None


def _slice(node: ir.Node, _: Context) -> ir.Value | None:
    value = node.inputs[0]
    starts, ends = _ints(node, "starts", 1), _ints(node, "ends", 2)
    if starts is None or ends is None or _has_input(node, 4, but_constant=1):
        return None
    axes = _ints(node, "axes", 3)
    if axes is None and _has_input(node, 3):
        return None
    shape = static_shape(value)
    for position, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = position if axes is None else axes[position]
        size = shape[axis] if shape is not None else None
        reaches_end = end >= _TO_THE_END or (size is not None and end >= size)
        if start != 0 or not reaches_end:
            return None
    return value


def _expand(node: ir.Node, _: Context) -> ir.Value | None:
    value = node.inputs[0]
    if node.inputs[1] is not None and _is_shape_of(node.inputs[1], value):
        return value
    target, shape = integers(node.inputs[1]), static_shape(value)
    if target is None or shape is None:
        return None
    return value if _broadcasts_into(target, shape) else None


def _tile(node: ir.Node, context: Context) -> ir.Value | None:
    repeats = integers(node.inputs[1]) if context.opset >= 6 else None
    return node.inputs[0] if repeats is not None and all(r == 1 for r in repeats) else None


def _flatten(node: ir.Node, _: Context) -> ir.Value | None:
    axis = node.attributes.get_int("axis", 1)
    return node.inputs[0] if rank(node.inputs[0]) == 2 and axis in (1, -1) else None


def _add(node: ir.Node, context: Context) -> ir.Value | None:
    left, right = node.inputs
    return _operand(left, right, _adds_nothing(context, negate=False), context) or _operand(
        right, left, _adds_nothing(context, negate=False), context
    )


def _subtract(node: ir.Node, context: Context) -> ir.Value | None:
    return _operand(node.inputs[0], node.inputs[1], _adds_nothing(context, negate=True), context)


def _multiply(node: ir.Node, context: Context) -> ir.Value | None:
    left, right = node.inputs
    return _operand(left, right, _is_one, context) or _operand(right, left, _is_one, context)


def _divide(node: ir.Node, context: Context) -> ir.Value | None:
    return _operand(node.inputs[0], node.inputs[1], _is_one, context)


def _power(node: ir.Node, context: Context) -> ir.Value | None:
    # The exponent may have another type; the result has the base's.
    return _operand(node.inputs[0], node.inputs[1], _is_one, context)


def _is_one(array: npt.NDArray[Any]) -> bool:
    return bool(np.all(array == 1))


def _adds_nothing(context: Context, *, negate: bool) -> Callable[[npt.NDArray[Any]], bool]:
    """Adding -0.0 and subtracting 0.0 keep all x; the other zero turns -0.0 into 0.0."""

    def test(array: npt.NDArray[Any]) -> bool:
        if np.any(array != 0):
            return False
        if array.dtype.kind in "iub" or context.ignore_zero_sign:
            return True
        if bool(np.all(np.signbit(array) != negate)):
            return True
        raise Undecided(
            "it turns -0.0 into 0.0, unlike an identity; the option ignore_zero_sign removes it"
        )

    return test


def _operand(
    value: ir.Value | None,
    other: ir.Value | None,
    test: Callable[[npt.NDArray[Any]], bool],
    context: Context,
) -> ir.Value | None:
    """``value``, if ``other`` is a constant that passes the test and broadcasts into it."""
    if context.opset < 7 or value is None or other is None:
        return None  # before opset 7 broadcasting followed an attribute
    tensor = constant(other)
    if tensor is None:
        return None
    shape = static_shape(value)
    if tensor.ndim and (shape is None or not _broadcasts_into(list(tensor.shape), shape)):
        return None
    return value if test(tensor) else None


def _broadcasts_into(target: list[int], shape: list[int | None]) -> bool:
    """Whether broadcasting ``shape`` with ``target`` gives ``shape``, whatever its open sizes."""
    if len(target) > len(shape):
        return False
    ends = zip(reversed(target), reversed(shape), strict=False)
    return all(wanted in (1, size) for wanted, size in ends)


def _ints(node: ir.Node, attribute: str, position: int) -> list[int] | None:
    """Integers that are an attribute in old operator sets and an input in new ones."""
    listed = node.attributes.get_ints(attribute, None)
    if listed is not None:
        return list(listed)
    return integers(node.inputs[position]) if _has_input(node, position) else None


def _has_input(node: ir.Node, position: int, *, but_constant: int | None = None) -> bool:
    """Whether an input is given, other than as a constant of nothing but ``but_constant``."""
    if position >= len(node.inputs) or node.inputs[position] is None:
        return False
    values = integers(node.inputs[position])
    return but_constant is None or values is None or any(v != but_constant for v in values)


RULES: dict[str, Rule] = {
    "Add": _add,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Concat": _only_input,
    "Div": _divide,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Identity": _identity,
    "Max": _only_input,
    "Mean": _only_input,
    "Min": _only_input,
    "Mul": _multiply,
    "Pad": _pad,
    "Pow": _power,
    "Reshape": _reshape,
    "Slice": _slice,
    "Sub": _subtract,
    "Sum": _only_input,
    "Tile": _tile,
    "Transpose": _transpose,
}
