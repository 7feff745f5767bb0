"""Dimensions of Relax tensors as the dimensions of prim funcs."""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relax, tirx
from tvm.sym import Analyzer

from ingot.targets.cpu.kernels.writing.dimension import Dim
from ingot.targets.cpu.kernels.writing.emission import index


def same_dimension(first: Dim, second: Dim) -> bool:
    """Whether two dimensions are known to be equal."""
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    return bool(Analyzer().can_prove_equal(index(first), index(second)))


def shape_of(expression: relax.Expr) -> list[Dim] | None:
    """Returns a tensor's shape, numbers as int; None where its dimensions are not known."""
    type_ = expression.ty
    shape = type_.shape if isinstance(type_, relax.TensorType) else None
    if isinstance(shape, relax.Expr) and not isinstance(shape, relax.ShapeExpr):
        shape = shape.ty.values
    if shape is None:
        return None
    return [int(dim) if isinstance(dim, tirx.IntImm) else dim for dim in shape]


def shape_expr(dims: Iterable[Dim]) -> relax.ShapeExpr:
    """Returns dimensions as a shape of Relax's."""
    return relax.ShapeExpr([index(dim) for dim in dims])


class Dimensions:
    """Gives each distinct symbolic dimension a variable of the prim func's own."""

    def __init__(self) -> None:
        """Begins without variables."""
        self._variables: list[tuple[tirx.Expr, tirx.Var]] = []

    def of(self, dim: Dim) -> Dim:
        """Returns a number, or the variable that stands for a symbolic dimension."""
        if isinstance(dim, int):
            return dim
        for known, variable in self._variables:
            if same_dimension(known, dim):
                return variable
        name = dim.name if isinstance(dim, tirx.Var) else f"dim_{len(self._variables)}"
        variable = tirx.Var(name, "int64")
        self._variables.append((dim, variable))
        return variable

    def all_of(self, dims: Iterable[Dim]) -> tuple[Dim, ...]:
        """Returns what ``of`` does for each."""
        return tuple(self.of(dim) for dim in dims)

    def known(self, dim: Dim) -> Dim | None:
        """Returns what stands for a dimension already, or a difference of two; else None.

        A prim func knows its buffers' dimensions and no others.
        """
        if isinstance(dim, int):
            return dim
        pairs = list(self._variables)
        for known, variable in pairs:
            if same_dimension(known, dim):
                return variable
        for known, variable in pairs:
            for other, subtracted in pairs:
                if same_dimension(known - other, dim):
                    return variable - subtracted
        return None
