"""Determinants of small matrices, the ONNX operator ``Det``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError

# Beyond it the expansion into minors takes more work than it is worth.
_LARGEST = 4

_Entry = Callable[[int, int], tirx.Expr]


def determinant(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``Det`` of matrices of up to four rows, by the expansion into minors.

    Args:
        builder: The block builder to emit to.
        inputs: Matrices [*, M, M].
        attributes: None are defined.

    Raises:
        UnsupportedOperatorError: The matrices are larger, not square, or of unknown size.
    """
    del attributes
    (data,) = inputs
    shape = data.ty.shape
    sizes = [] if shape is None else [int(getattr(size, "value", 0)) for size in list(shape)[-2:]]
    if len(sizes) != 2 or sizes[0] != sizes[1] or not 0 < sizes[0] <= _LARGEST:
        raise UnsupportedOperatorError(
            f"determinants are lowered for square matrices of up to {_LARGEST} rows, not {sizes}"
        )
    rows = tuple(range(sizes[0]))

    def compute(matrices: te.Tensor) -> te.Tensor:
        def value(*place: tirx.Var) -> tirx.Expr:
            return _expansion(lambda row, column: matrices(*place, row, column), 0, rows)

        return te.compute(list(matrices.shape)[:-2], value, "determinant")

    return builder.emit_te(compute, data, primfunc_name_hint="determinant")


def _expansion(entry: _Entry, row: int, columns: tuple[int, ...]) -> tirx.Expr:
    """The determinant of the last rows, of these columns."""
    if len(columns) == 1:
        return entry(row, columns[0])
    terms = [
        entry(row, column)
        * _expansion(entry, row + 1, columns[:position] + columns[position + 1 :])
        for position, column in enumerate(columns)
    ]
    total = terms[0]
    for position, term in enumerate(terms[1:], 1):
        total = total - term if position % 2 else total + term
    return total
