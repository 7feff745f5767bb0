"""Questions that the fusion passes ask about values: constants, scalars, affine forms, products.

The forms are algebraic rather than literal, so that one description covers each order and each
grouping in which exporters write the same arithmetic.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}
)
# Patterns of several roundings agree with one fused operator within float rounding in these only:
# in half precision each step of the spelled-out form loses what the operator keeps.
WIDE_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})

# Exporters and their users write constants with five to nine digits (1.4142, 0.79788456), and
# float32 holds seven. Twice this is the difference that float rounding is declared with.
CONSTANT_RTOL = 1e-5


class Unfit(Exception):  # noqa: N818 - it ends a match, it is no error
    """Ends a match: the place has the pattern's outline, but may not be replaced.

    Args:
        reason: Why not, in words for a user.
    """


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that computes a value, if it is one of these operators of the default domain."""
    node = None if value is None else value.producer()
    if node is None or node.domain != "" or node.op_type not in op_types:
        return None
    return node


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor behind an initializer or a Constant node; None if a caller may feed the value."""
    if value is None or value.is_graph_input():
        return None
    if value.const_value is not None:
        return value.const_value
    node = producer(value, "Constant")
    return None if node is None else ir.convenience.get_const_tensor(value)


def constant(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The elements of a constant value, or None if it is not constant."""
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant of one element and any rank, or None."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.size != 1:
        return None
    if tensor.dtype not in FLOATS and not tensor.dtype.is_integer():
        return None
    return float(tensor.numpy().reshape(()))


def close(actual: float, expected: float) -> bool:
    """Whether a constant is the expected one, as well as exporters write it."""
    return math.isclose(actual, expected, rel_tol=CONSTANT_RTOL)


def read_once(value: ir.Value) -> bool:
    """Whether one input of one node is all that reads a value."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions of a value, or None if it is unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def static_dim(value: ir.Value | None, axis: int) -> int | None:
    """The size of an axis, or None if it is symbolic or unknown."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    dim = value.shape[axis]
    return dim if isinstance(dim, int) else None


def require_dtype(value: ir.Value, allowed: Collection[ir.DataType]) -> None:
    """Ends the match unless the value's element type is known and one of ``allowed``."""
    if value.dtype is None:
        raise Unfit(f"the element type of '{value.name}' is unknown")
    if value.dtype in allowed:
        return
    if value.dtype in FLOATS:
        raise Unfit(
            f"'{value.name}' is {value.dtype.name}: the fused operator rounds differently there"
        )
    raise Unfit(f"'{value.name}' is {value.dtype.name}, not floating-point")


def require_shape_kept(x: ir.Value, region: Iterable[ir.Node]) -> None:
    """Ends the match if a one-element constant of the region may add dimensions to ``x``."""
    x_rank = rank(x)
    for node in region:
        for value in node.inputs:
            tensor = constant_tensor(value)
            if tensor is not None and len(tensor.shape) > (x_rank or 0):
                raise Unfit(f"a constant of the pattern may have more dimensions than '{x.name}'")


def commuted(node: ir.Node) -> tuple[tuple[ir.Value, ir.Value], ...]:
    """The two inputs of a binary operator that commutes, in both orders."""
    left, right = node.inputs[0], node.inputs[1]
    if left is None or right is None:
        return ()
    return (left, right), (right, left)


@dataclasses.dataclass(frozen=True)
class Affine:
    """``scale * base + offset``, and the nodes that compute it from ``base``."""

    base: ir.Value
    scale: float = 1.0
    offset: float = 0.0
    nodes: frozenset[ir.Node] = frozenset()


def affine(value: ir.Value, *, through_root: bool = False) -> Affine:
    """Follows additions and multiplications by one-element constants back from a value.

    It stops at a value that something else reads too: such a value is an operand of the pattern
    (the x that hard-swish multiplies by), not a step inside of it.

    Args:
        value: Where to start.
        through_root: Take the first step even if ``value`` is read more than once.
    """
    steps: list[tuple[float, float, ir.Node]] = []
    while through_root or read_once(value):
        through_root = False
        step = _affine_step(value)
        if step is None:
            break
        value, scale, offset, node = step
        steps.append((scale, offset, node))
    total_scale, total_offset = 1.0, 0.0
    for scale, offset, _ in reversed(steps):
        total_scale, total_offset = total_scale * scale, total_offset * scale + offset
    return Affine(value, total_scale, total_offset, frozenset(node for *_, node in steps))


def _affine_step(value: ir.Value) -> tuple[ir.Value, float, float, ir.Node] | None:
    node = producer(value, "Add", "Sub", "Mul", "Div", "Neg")
    if node is None:
        return None
    first = node.inputs[0]
    if node.op_type == "Neg" and first is not None:
        return first, -1.0, 0.0, node
    left, right = node.inputs[0], node.inputs[1]
    if left is None or right is None:
        return None
    number = scalar(right)
    operand, reversed_ = (left, False) if number is not None else (right, True)
    if number is None:
        number = scalar(left)
    if number is None:
        return None
    if node.op_type == "Add":
        return operand, 1.0, number, node
    if node.op_type == "Mul":
        return operand, number, 0.0, node
    if node.op_type == "Sub":
        return (operand, -1.0, number, node) if reversed_ else (operand, 1.0, -number, node)
    if reversed_ or number == 0.0:
        return None
    return operand, 1.0 / number, 0.0, node


@dataclasses.dataclass(frozen=True)
class Product:
    """``coefficient`` times ``factors``, and the nodes that multiply them."""

    coefficient: float
    factors: tuple[ir.Value, ...]
    nodes: frozenset[ir.Node]


def product(root: ir.Node) -> Product | None:
    """Flattens the tree of multiplications, and divisions by constants, that ends in a node.

    A product that something else reads too is a factor of its own.
    """
    coefficient, factors, nodes = 1.0, [], set()
    pending: list[ir.Value] = [root.outputs[0]]
    while pending:
        value = pending.pop()
        node = producer(value, "Mul", "Div", "Neg")
        number = scalar(value)
        if number is not None:
            coefficient *= number
        elif node is None or not (node is root or read_once(value)):
            factors.append(value)
        elif node.op_type == "Neg":
            coefficient, pending = -coefficient, [*pending, *filter(None, node.inputs)]
            nodes.add(node)
        elif node.op_type == "Div":
            divisor = scalar(node.inputs[1])
            if divisor is None or divisor == 0.0 or node.inputs[0] is None:
                factors.append(value)
                continue
            coefficient /= divisor
            pending.append(node.inputs[0])
            nodes.add(node)
        else:
            pending.extend(filter(None, reversed(node.inputs)))
            nodes.add(node)
    if root not in nodes:
        return None
    return Product(coefficient, tuple(factors), frozenset(nodes))


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """A polynomial in one value: degree to coefficient, and the nodes that compute it."""

    coefficients: dict[int, float]
    nodes: frozenset[ir.Node]

    def equals(self, expected: dict[int, float]) -> bool:
        """Whether the coefficients are the expected ones, as well as exporters write them."""
        present = {degree: c for degree, c in self.coefficients.items() if c != 0.0}
        return present.keys() == expected.keys() and all(
            close(present[degree], c) for degree, c in expected.items()
        )


_HIGHEST_DEGREE = 3
# The longest way from x to the end of a polynomial that exporters write has five steps; the limit
# keeps a value that is none from being followed through the whole graph.
_LONGEST_WAY = 8


def polynomial(value: ir.Value, x: ir.Value, *, steps: int = _LONGEST_WAY) -> Polynomial | None:
    """Reads a value as a polynomial in ``x`` of degree three at most.

    Args:
        value: The polynomial's value.
        x: Its variable.
        steps: How many operators may lie between the two.

    Returns:
        The polynomial, or None if the value depends on anything but ``x`` and constants, or is
        computed by other operators than sums, products, quotients and powers by constants.
    """
    if value is x:
        return Polynomial({1: 1.0}, frozenset())
    number = scalar(value)
    if number is not None:
        return Polynomial({0: number}, frozenset())
    node = producer(value, "Add", "Sub", "Mul", "Div", "Pow", "Neg")
    if node is None or steps == 0:
        return None
    terms = [polynomial(v, x, steps=steps - 1) for v in node.inputs if v is not None]
    operands = [term for term in terms if term is not None]
    if len(operands) != len(node.inputs):
        return None
    coefficients = _combine(node.op_type, [term.coefficients for term in operands])
    if coefficients is None:
        return None
    return Polynomial(coefficients, frozenset({node}).union(*(t.nodes for t in operands)))


def _combine(op_type: str, terms: list[dict[int, float]]) -> dict[int, float] | None:
    first, second = terms[0], terms[-1]
    if op_type == "Neg":
        return {degree: -c for degree, c in first.items()}
    if op_type in ("Add", "Sub"):
        sign = 1.0 if op_type == "Add" else -1.0
        degrees = first.keys() | second.keys()
        return {d: first.get(d, 0.0) + sign * second.get(d, 0.0) for d in degrees}
    if op_type == "Mul":
        return _multiply(first, second)
    if second.keys() != {0}:
        return None
    if op_type == "Div":
        return None if second[0] == 0.0 else {d: c / second[0] for d, c in first.items()}
    if second[0] not in (1.0, 2.0, 3.0):
        return None
    power: dict[int, float] | None = first
    for _ in range(int(second[0]) - 1):
        power = None if power is None else _multiply(power, first)
    return power


def _multiply(left: dict[int, float], right: dict[int, float]) -> dict[int, float] | None:
    result: dict[int, float] = {}
    for d1, c1 in left.items():
        for d2, c2 in right.items():
            result[d1 + d2] = result.get(d1 + d2, 0.0) + c1 * c2
    return None if max(result) > _HIGHEST_DEGREE else result
