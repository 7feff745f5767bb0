"""The largest or smallest elements along an axis, the ONNX operator ``TopK``."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, at_least, described, shape_of
from ingot.targets.relax.operators.inputs import integers, tensor
from ingot.targets.relax.ranking import ranked
from ingot.targets.relax.shape_values.known import known_vector


def topk(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``TopK``; that there are as many elements is checked where it is not known.

    Args:
        builder: The builder to emit to.
        inputs: The data, and how many: known, symbolic, or given when the model runs.
        attributes: ``axis`` and ``largest``; ``k``, before opset 10.

    Raises:
        UnsupportedOperatorError: The order of the result is left open, as ONNX Runtime then has
            one of its own.
    """
    if not attributes.get("sorted", 1):
        raise UnsupportedOperatorError("a result that is not sorted is not lowered")
    data = tensor(builder, inputs[0])
    own = shape_of(data)
    axis = attributes.get("axis", -1) % len(own)
    given = known_vector([attributes["k"]]) if "k" in attributes else inputs[1]
    count = integers(builder, given).flat[0]
    for fits in (as_expression(own[axis]) - count, count):
        if not at_least(fits, 0):
            builder.require(
                as_expression(fits) >= 0,
                f"{described(count)} elements are asked for of {described(own[axis])}",
            )
    largest = bool(attributes.get("largest", 1))
    indices = ranked(builder, data, builder.dimension(count), axis, largest=largest)
    return relax.Tuple([elements_at(builder, data, indices, axis), indices])


def elements_at(builder: Builder, data: relax.Expr, indices: relax.Expr, axis: int) -> relax.Expr:
    """Returns the elements of data at indices along an axis; none is out of range."""

    def compute(source: te.Tensor, places: te.Tensor) -> te.Tensor:
        def element(*at: tirx.Var) -> tirx.Expr:
            return source(*at[:axis], places(*at), *at[axis + 1 :])

        return te.compute(places.shape, element, "elements")

    return builder.emit_te(compute, data, indices, primfunc_name_hint="elements_at")
