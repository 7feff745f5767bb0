"""Integer expressions of dimensions: what is known of them without their values.

A dimension is never negative, and of a variable nothing else is known. An expression is a number
where it is known, and a TVM expression where it is not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import tvm_ffi
from tvm import ir, relax, sym, tirx

Size: TypeAlias = "int | tirx.Expr"
"""A dimension, or an integer computed from dimensions."""

# Of a dimension: so that the product of two stays within 64 bits.
_LARGEST = 1 << 30
# Parts of an expression; TVM's analyzer takes seconds for nested choices of hundreds.
_LARGE = 64
_POLYNOMIAL = (tirx.Add, tirx.Mul, tirx.Sub)


def variables(expression: Any) -> list[tirx.Var]:
    """Returns the distinct variables of an expression, in order of appearance."""
    found: dict[tirx.Var, None] = {}
    if not isinstance(expression, (int, float)):
        tvm_ffi.structural_walk(expression, (ir.Var, lambda var: found.setdefault(var)))
    return list(found)


def substituted(expression: Any, values: Mapping[tirx.Var, tirx.Expr]) -> Any:
    """Returns an expression with other ones in place of variables."""
    if isinstance(expression, (int, float)) or not values:
        return expression
    return tvm_ffi.structural_map(expression, (ir.Var, lambda var: values.get(var, var)))


def analyzer_of(*expressions: Any, least: int = 0) -> sym.Analyzer:
    """Returns an analyzer that knows each variable of expressions to be at least ``least``."""
    analyzer = sym.Analyzer()
    known: set[tirx.Var] = set()
    bounds = ir.Range.from_min_extent(tirx.IntImm("int64", least), tirx.IntImm("int64", _LARGEST))
    for expression in expressions:
        for variable in variables(expression):
            if variable not in known and variable.ty.dtype == "int64":
                known.add(variable)
                analyzer.bind(variable, bounds)
    return analyzer


def plain(value: Any) -> Any:
    """Returns the Python number of a constant expression, and any other expression as it is."""
    if isinstance(value, tirx.IntImm):
        return bool(value.value) if str(value.ty.dtype) == "bool" else int(value.value)
    return float(value.value) if isinstance(value, tirx.FloatImm) else value


def simplified(value: Any, least: int = 0) -> Any:
    """Simplifies an integer expression; a known one becomes a number.

    Args:
        value: The expression.
        least: What no dimension is below.
    """
    value = plain(value)
    if isinstance(value, (int, float)) or str(value.ty.dtype).startswith("float"):
        return value
    if is_large(value):
        return value
    return plain(analyzer_of(value, least=least).simplify(value))


def is_large(expression: tirx.Expr) -> bool:
    """Whether an expression is too large to be worth an attempt to simplify it."""
    count = 0

    def visit(_: Any) -> None:
        nonlocal count
        count += 1

    tvm_ffi.structural_walk(expression, (ir.Expr, visit))
    return count > _LARGE


def as_expression(value: Any) -> tirx.Expr:
    """Returns a dimension as an expression of 64 bits."""
    return tirx.IntImm("int64", value) if isinstance(value, int) else value


def same(first: Size, second: Size) -> bool:
    """Whether two dimensions are equal whatever the variables' values."""
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    difference = simplified(as_expression(first) - as_expression(second))
    return isinstance(difference, int) and difference == 0


def same_shape(first: Sequence[Size], second: Sequence[Size]) -> bool:
    """Whether two shapes are equal, dimension by dimension."""
    return len(first) == len(second) and all(map(same, first, second))


def equal(first: Size, second: Size) -> Any:
    """Returns the condition that two integers are equal; TVM's own ``==`` is none."""
    return simplified(tirx.EQ(as_expression(first), as_expression(second)))


def different(first: Size, second: Size) -> Any:
    """Returns the condition that two integers differ."""
    return simplified(tirx.NE(as_expression(first), as_expression(second)))


def is_number(value: Any, number: int) -> bool:
    """Whether an integer is known and this one."""
    return isinstance(value, int) and value == number


def provable(condition: Any) -> bool:
    """Whether a condition holds whatever the variables' values."""
    condition = plain(condition)
    if isinstance(condition, (bool, int)):
        return bool(condition)
    if is_large(condition):
        return False
    return bool(analyzer_of(condition).can_prove(condition))


def at_least(value: Size, bound: int) -> bool:
    """Whether a dimension is known not to be below a number."""
    if isinstance(value, int):
        return value >= bound
    return provable(value >= bound)


def smallest(first: Size, second: Size) -> Size:
    """Returns the smaller of two integers."""
    if isinstance(first, int) and isinstance(second, int):
        return min(first, second)
    first, second = as_expression(first), as_expression(second)
    if provable(first <= second):
        return plain(first)
    return plain(second) if provable(second <= first) else tirx.min(first, second)


def largest(first: Size, second: Size) -> Size:
    """Returns the larger of two integers."""
    if isinstance(first, int) and isinstance(second, int):
        return max(first, second)
    first, second = as_expression(first), as_expression(second)
    if provable(first >= second):
        return plain(first)
    return plain(second) if provable(second >= first) else tirx.max(first, second)


def chosen(condition: Any, first: Any, second: Any) -> Any:
    """Returns the first of two integers where a condition holds, else the second."""
    condition = simplified(condition)
    if isinstance(condition, (bool, int)):
        return first if condition else second
    return tirx.Select(condition, as_expression(first), as_expression(second))


def is_polynomial(value: Size) -> bool:
    """Whether TVM can compute with a dimension in shapes: sums, products, quotients by numbers."""
    simple = True

    def visit(node: Any) -> None:
        nonlocal simple
        if isinstance(node, (tirx.FloorDiv, tirx.FloorMod)):
            simple = simple and isinstance(node.b, tirx.IntImm) and int(node.b.value) > 0
        else:
            simple = simple and isinstance(node, (ir.Var, tirx.IntImm, *_POLYNOMIAL))

    if not isinstance(value, int):
        tvm_ffi.structural_walk(value, (ir.Expr, visit))
    return simple


def described(value: Size) -> str:
    """Returns a dimension as a message shows it."""
    return re.sub(r"T\.int64\((-?\d+)\)", r"\1", str(value))


def factors(sizes: Iterable[Size]) -> tuple[int, list[tirx.Expr]]:
    """Returns the number and the expressions whose product dimensions have."""
    number = 1
    others: list[tirx.Expr] = []
    left = list(sizes)
    while left:
        size = plain(left.pop(0))
        if isinstance(size, int):
            number *= size
        elif isinstance(size, tirx.Mul):
            left += [size.a, size.b]
        else:
            others.append(size)
    return number, others


def reduced_quotient(above: Iterable[Size], below: Iterable[Size]) -> tuple[Size, Size]:
    """Cancels what two products have in common.

    Returns:
        The products of what is left above and below.
    """
    number, left = factors(above)
    divisor, under = factors(below)
    for factor in list(under):
        match = next((each for each in left if same(each, factor)), None)
        if match is not None:
            left = [each for each in left if each is not match]
            under = [each for each in under if each is not factor]
    shared = math.gcd(number, divisor) or 1
    return product([number // shared, *left]), product([divisor // shared, *under])


def product(sizes: Iterable[Size]) -> Size:
    """Returns the product of dimensions."""
    number, others = 1, []
    for size in sizes:
        if isinstance(size, int):
            number *= size
        else:
            others.append(size)
    if not others or not number:
        return number
    expression = math.prod(others[1:], start=others[0])
    return expression if number == 1 else expression * number


def shape_of(tensor: relax.Expr) -> list[Size]:
    """Returns a tensor's dimensions, numbers as int.

    Raises:
        ValueError: They are not known, not even as variables.
    """
    type_ = tensor.ty
    shape = type_.shape if isinstance(type_, relax.TensorType) else None
    if isinstance(shape, relax.Expr) and not isinstance(shape, relax.ShapeExpr):
        shape = shape.ty.values
    if shape is None:
        raise ValueError("the dimensions of an input are not known")
    return [plain(size) for size in shape]
