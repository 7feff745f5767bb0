"""Arithmetic on single elements: Python numbers, or expressions of dimensions.

Sizes that a graph computes in floating point (``floor(height * 1.5)``, as exporters write the size
of an enlarged image) become integer arithmetic where that gives the same, so that they stay
readable for what computes with shapes; else the very floating-point operations are done when the
model runs.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from tvm import tirx

from ingot.targets.relax.expressions import (
    as_expression,
    at_least,
    chosen,
    equal,
    factors,
    largest,
    plain,
    provable,
    smallest,
)
from ingot.targets.relax.shape_values.known import as_float, as_operand

# Floating-point numbers with few bits behind the point: products with sizes are exact.
_LARGEST_DENOMINATOR = 1 << 8

Binary = Callable[[Any, Any, str], Any]


def _is_number(*values: Any) -> bool:
    return not any(isinstance(value, tirx.Expr) for value in values)


def arithmetic(function: Callable[[Any, Any], Any]) -> Binary:
    """Returns an operator on two elements of a dtype, of one on numbers and expressions alike."""

    def compute(left: Any, right: Any, dtype: str) -> Any:
        if dtype.startswith("float"):
            if _is_number(left, right):
                return as_float(function(left, right), dtype)
            return function(as_operand(left, dtype), as_operand(right, dtype))
        return function(left, right)

    return compute


add = arithmetic(operator.add)
subtract = arithmetic(operator.sub)
multiply = arithmetic(operator.mul)


def negate(value: Any, dtype: str) -> Any:
    """Changes the sign."""
    return -value if _is_number(value) else subtract(0, value, dtype)


def divide(left: Any, right: Any, dtype: str) -> Any:
    """Divides; integers towards zero. None where the divisor is zero."""
    if _is_number(right) and not right:
        return None
    if dtype.startswith("float"):
        return arithmetic(operator.truediv)(left, right, dtype)
    if _is_number(left, right):
        return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
    number, parts = factors([right])
    if len(parts) > 1:
        # One after the other: the product may wrap around to zero.
        for part in (*parts, number):
            left = divide(left, part, dtype)
        return left
    # A dimension of zero must not end the process.
    right = right if at_least(right, 1) else chosen(equal(right, 0), 1, right)
    if at_least(left, 0) and at_least(right, 1):
        return tirx.floordiv(as_expression(left), as_expression(right))
    return tirx.truncdiv(as_expression(left), as_expression(right))


def remainder(left: Any, right: Any, dtype: str) -> Any:
    """The remainder of integers, with the divisor's sign; None for what is not handled."""
    if dtype.startswith("float") or not at_least(right, 1):
        return None
    if _is_number(left, right):
        return left % right
    return tirx.floormod(as_expression(left), as_expression(right))


def maximum(left: Any, right: Any, dtype: str) -> Any:
    """The larger one."""
    if dtype.startswith("float"):
        return arithmetic(max if _is_number(left, right) else tirx.max)(left, right, dtype)
    return largest(left, right)


def minimum(left: Any, right: Any, dtype: str) -> Any:
    """The smaller one."""
    if dtype.startswith("float"):
        return arithmetic(min if _is_number(left, right) else tirx.min)(left, right, dtype)
    return smallest(left, right)


def comparison(on_numbers: Callable[[Any, Any], bool], on_expressions: Any) -> Binary:
    """Returns a comparison of two elements of a dtype."""

    def compare(left: Any, right: Any, dtype: str) -> Any:
        if _is_number(left, right):
            return on_numbers(left, right)
        if dtype == "bool":
            return None
        return on_expressions(as_operand(left, dtype), as_operand(right, dtype))

    return compare


def both(left: Any, right: Any, dtype: str) -> Any:
    """Logical and."""
    del dtype
    if _is_number(left):
        return right if left else False
    if _is_number(right):
        return left if right else False
    return tirx.And(left, right)


def either(left: Any, right: Any, dtype: str) -> Any:
    """Logical or."""
    del dtype
    if _is_number(left):
        return True if left else right
    if _is_number(right):
        return True if right else left
    return tirx.Or(left, right)


def opposite(value: Any, dtype: str) -> Any:
    """Logical not."""
    del dtype
    return not value if _is_number(value) else tirx.Not(value)


def selected(condition: Any, left: Any, right: Any, dtype: str) -> Any:
    """The left element where a condition holds, else the right one."""
    if _is_number(condition):
        return left if condition else right
    if not dtype.startswith("float") and dtype != "bool":
        return chosen(condition, left, right)
    return tirx.Select(condition, as_operand(left, dtype), as_operand(right, dtype))


def ratio_of(value: Any, outermost: bool = True) -> tuple[tirx.Expr, int] | None:
    """Returns a floating-point expression as an integer one over a whole number, where it is one.

    A division is taken as long as nothing but rounding to an integer follows: the quotient of
    integers of fewer than 24 bits is never rounded up to the next one.
    """
    if isinstance(value, (float, tirx.FloatImm)):
        fraction = Fraction(float(plain(value)))
        if fraction.denominator > _LARGEST_DENOMINATOR:
            return None
        return as_expression(fraction.numerator), fraction.denominator
    if isinstance(value, tirx.Cast) and str(value.value.ty.dtype).startswith("int"):
        return value.value, 1
    if isinstance(value, tirx.Div) and outermost:
        above, below = ratio_of(value.a, False), ratio_of(value.b, False)
        if above and below and below[1] == 1 and _positive_number(below[0]):
            return above[0], above[1] * int(plain(below[0]))
        return None
    if not isinstance(value, (tirx.Add, tirx.Sub, tirx.Mul)):
        return None
    left, right = ratio_of(value.a, False), ratio_of(value.b, False)
    if left is None or right is None:
        return None
    if isinstance(value, tirx.Mul):
        return left[0] * right[0], left[1] * right[1]
    sign = 1 if isinstance(value, tirx.Add) else -1
    return left[0] * right[1] + right[0] * (sign * left[1]), left[1] * right[1]


def _positive_number(value: tirx.Expr) -> bool:
    return isinstance(value, tirx.IntImm) and int(value.value) > 0


def floor(value: Any, dtype: str) -> Any:
    """Rounds down, to a floating-point number."""
    if _is_number(value):
        return as_float(math.floor(value), dtype)
    ratio = ratio_of(value)
    if ratio is None:
        return tirx.floor(value)
    return tirx.Cast(dtype, tirx.floordiv(ratio[0], as_expression(ratio[1])))


def ceil(value: Any, dtype: str) -> Any:
    """Rounds up, to a floating-point number."""
    if _is_number(value):
        return as_float(math.ceil(value), dtype)
    ratio = ratio_of(value)
    if ratio is None:
        return tirx.ceil(value)
    return tirx.Cast(dtype, tirx.floordiv(ratio[0] + (ratio[1] - 1), as_expression(ratio[1])))


def to_integer(value: Any) -> Any:
    """Rounds a floating-point number towards zero, to an integer."""
    if _is_number(value):
        return int(value) if math.isfinite(value) else None
    ratio = ratio_of(value)
    if ratio is None:
        return tirx.Cast("int64", value)
    above, below = ratio
    if below == 1:
        return above
    whole = tirx.floordiv if provable(above >= 0) else tirx.truncdiv
    return whole(above, as_expression(below))


def converted(value: Any, source: str, target: str) -> Any:
    """Converts an element between dtypes; None where that is not handled."""
    if source == target:
        return value
    if target == "bool":
        zero = as_operand(0, source)
        if _is_number(value):
            return bool(value)
        return None if source == "bool" else tirx.NE(value, zero)
    if source == "bool":
        number = int(value) if _is_number(value) else chosen(value, 1, 0)
        return number if not target.startswith("float") else as_float(number, target)
    if target.startswith("float"):
        return as_float(value, target)
    return to_integer(value) if source.startswith("float") else value
