"""Dimensions that are numbers, or expressions where they are known only when the code runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from tvm import sym, tirx

Dim: TypeAlias = "int | tirx.Expr"


def product(dims: Iterable[Dim]) -> Dim:
    """Multiplies dimensions; the result is an int where all of them are numbers."""
    result: Dim = 1
    for dim in dims:
        result = result * (int(dim) if isinstance(dim, tirx.IntImm) else dim)
    return result


def ceil_div(dim: Dim, by: int) -> Dim:
    """Divides and rounds up."""
    return (dim + (by - 1)) // by


def simplified(dim: Dim) -> Dim:
    """Returns a dimension as a number where it is one, else as a simple expression."""
    if isinstance(dim, int):
        return dim
    dim = sym.Analyzer().simplify(dim)
    return int(dim.value) if isinstance(dim, tirx.IntImm) else dim
