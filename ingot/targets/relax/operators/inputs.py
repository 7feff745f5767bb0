"""What a node is given where it asks for sizes: known while it is imported, or when it runs."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
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


def normalized_axes(axes: list[int], rank: int) -> list[int]:
    """Returns axes counted from the front.

    Raises:
        UnsupportedOperatorError: One is out of range or given twice.
    """
    counted = [axis + rank if axis < 0 else axis for axis in axes]
    if len(set(counted)) != len(counted) or not all(0 <= axis < rank for axis in counted):
        raise UnsupportedOperatorError(f"axes {axes} do not fit {rank} dimensions")
    return counted
