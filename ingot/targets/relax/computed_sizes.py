"""Sizes that are computed from tensors when the model runs, as variables of shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx


def computed_sizes(
    builder: relax.BlockBuilder,
    count: int,
    size: Callable[..., tirx.Expr],
    tensor: relax.Expr,
    sizes: Sequence[Any],
    name: str,
) -> list[tirx.Var]:
    """Emits the computation of sizes; returns the variables that hold them.

    Args:
        builder: The block builder to emit to.
        count: How many sizes.
        size: Gives, of the tensor, the known sizes and a position, the size at that position.
        tensor: What the sizes are computed from.
        sizes: Dimensions that are known, or symbolic.
        name: What the function that computes them is called.
    """

    def compute(given: te.Tensor, known: list[tirx.Expr]) -> te.Tensor:
        return te.compute((count,), lambda at: size(given, known, at.astype("int64")), "sizes")

    computed = builder.emit_te(compute, tensor, relax.ShapeExpr(sizes), primfunc_name_hint=name)
    variables = [tirx.Var(f"{name}_{number}", "int64") for number in range(count)]
    shape = builder.emit(relax.op.tensor_to_shape(computed))
    builder.match_cast(shape, relax.ShapeType(variables))
    return variables
