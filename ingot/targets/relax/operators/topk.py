"""The largest or smallest elements along an axis, the ONNX operator ``TopK``."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, at_least, described, shape_of
from ingot.targets.relax.operators.inputs import integers, tensor
from ingot.targets.relax.operators.slicing import Part, taken
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
    if isinstance(count, int) and count > 0:
        return relax.op.topk(data, count, axis, "both", largest, "int64")
    # All of them in order, of which the first are taken.
    both = builder.emit(relax.op.topk(data, -1, axis, "both", largest, "int64"))
    parts = [Part(0, size, 1) for size in own]
    parts[axis] = Part(0, builder.dimension(count), 1)
    results = [builder.emit(relax.TupleGetItem(both, at)) for at in range(2)]
    return relax.Tuple([taken(builder, result, parts) for result in results])
