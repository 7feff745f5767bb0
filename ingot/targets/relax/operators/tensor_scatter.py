"""Writing new positions into a cache, the ONNX operator ``TensorScatter`` (opset 24)."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression
from ingot.targets.relax.value_checks import require_between

_LARGEST = (1 << 63) - 1


def tensor_scatter(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``TensorScatter``: each element is of the update where that reaches it.

    Args:
        builder: The builder to emit to.
        inputs: The cache [batch, …, longest, …], the update [batch, …, new, …] and, if there, the
            positions [batch] where each example's update begins, else zero.
        attributes: ``axis`` (of positions, -2), ``mode`` (linear, or circular: a position beyond
            the end is one from the beginning).

    Raises:
        UnsupportedOperatorError: The dimensions are unknown, or positions lie in the first.
    """
    cache, update, begins = (*inputs, None)[:3]
    if cache.ty.shape is None or update.ty.shape is None:
        raise UnsupportedOperatorError("writing into a cache of unknown dimensions is not lowered")
    axis = int(attributes.get("axis", -2)) % len(cache.ty.shape)
    mode = attributes.get("mode", b"linear")
    circular = (mode.decode() if isinstance(mode, bytes) else mode) == "circular"
    if axis == 0:
        raise UnsupportedOperatorError("a cache's positions cannot lie in its first dimension")

    if begins is not None:
        if builder.taken is not None:
            raise UnsupportedOperatorError("in a branch a cache's positions cannot be checked")
        last = cache.ty.shape[axis] - update.ty.shape[axis]
        beyond = as_expression(_LARGEST) if circular else last + 1
        message = "an update at position {0} does not end inside of the cache"
        require_between(builder, begins, [(0, beyond)], message)

    def written(cache: te.Tensor, update: te.Tensor, begins: te.Tensor | None = None) -> te.Tensor:
        longest, new = cache.shape[axis], update.shape[axis]

        def element(*at: tirx.Var) -> tirx.Expr:
            begin = tirx.IntImm("int64", 0) if begins is None else begins(at[0])
            place = at[axis] - begin
            if circular:
                place = tirx.floormod(place, longest)
            inside = tirx.And(place >= 0, place < new)
            nearest = tirx.max(tirx.min(place, new - 1), 0)
            part = update(*at[:axis], nearest, *at[axis + 1 :])
            # No Select: TVM knows where it is the update, and drops the bounds of what is read.
            return tirx.if_then_else(inside, part, cache(*at))

        return te.compute(cache.shape, element, name="written")

    given = [cache, update, *([] if begins is None else [begins])]
    return builder.emit_te(written, *given, primfunc_name_hint="tensor_scatter")
