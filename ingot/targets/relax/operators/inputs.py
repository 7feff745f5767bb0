"""What a node is given where it asks for sizes: known while it is imported, or when it runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import Size, as_expression, different
from ingot.targets.relax.shape_values import Known, known_of


def tensor(builder: Builder, entry: Any) -> relax.Expr:
    """Returns an input as a tensor."""
    return builder.tensor_of(entry) if isinstance(entry, Known) else entry


def integers(builder: Builder, entry: Any) -> Known:
    """Returns an input of integers element by element; such as are computed become variables."""
    known = known_of(entry)
    return builder.values_of(entry) if known is None else known


def constants(entry: Any, what: str) -> list[int]:
    """Returns an input of integers whose values must be known.

    Raises:
        UnsupportedOperatorError: They are not.
    """
    known = known_of(entry)
    if known is None or not known.is_constant:
        raise UnsupportedOperatorError(f"{what} known only when the model runs")
    return [int(value) for value in known.flat]


def optional(inputs: list[Any], position: int) -> Any:
    """Returns an optional input, None where it is left out."""
    return inputs[position] if position < len(inputs) else None


def require_axes(builder: Builder, axes: Sequence[Size], rank: int) -> None:
    """Has it checked that axes given when the model runs are those of a tensor, each but once."""
    first, beyond = as_expression(-rank), as_expression(rank)
    for axis in axes:
        if not isinstance(axis, int):
            fits = tirx.all(axis >= first, axis < beyond)
            builder.require(fits, "axis {0} does not fit {1} dimensions", axis, rank)
    for one, other in itertools.combinations(axes, 2):
        if not (isinstance(one, int) and isinstance(other, int)):
            ways = [different(one, other + shift) for shift in (0, rank, -rank)]
            builder.require(tirx.all(*ways), "axis {0} is given twice", one)


def normalized_axes(axes: list[int], rank: int) -> list[int]:
    """Returns axes counted from the front.

    Raises:
        UnsupportedOperatorError: One is out of range or given twice.
    """
    counted = [axis + rank if axis < 0 else axis for axis in axes]
    if len(set(counted)) != len(counted) or not all(0 <= axis < rank for axis in counted):
        raise UnsupportedOperatorError(f"axes {axes} do not fit {rank} dimensions")
    return counted
