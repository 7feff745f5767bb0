"""Reversing the beginning of each sequence, the ONNX operator ``ReverseSequence``."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, shape_of
from ingot.targets.relax.value_checks import require_between


def reverse_sequence(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``ReverseSequence``: of each example as many entries as its length says.

    Args:
        builder: The builder to emit to.
        inputs: The data, and a length for each example: no longer than that, which is checked.
        attributes: ``batch_axis`` (1) and ``time_axis`` (0).
    """
    data, lengths = inputs
    batch, time = attributes.get("batch_axis", 1), attributes.get("time_axis", 0)

    steps = as_expression(shape_of(data)[time])
    message = "length {0} is not one from 0 to {3}"
    require_between(builder, lengths, [(0, steps + 1)], message)

    def compute(tensor: te.Tensor, counts: te.Tensor) -> te.Tensor:
        def element(*place: tirx.Var) -> tirx.Expr:
            at = place[time].astype("int64")
            # A length beyond the end is that of all.
            length = tirx.min(counts(place[batch]), tensor.shape[time].astype("int64"))
            turned = tirx.Select(at < length, length - 1 - at, at)
            return tensor(*place[:time], turned, *place[time + 1 :])

        return te.compute(tensor.shape, element, "reversed")

    return builder.emit_te(compute, data, lengths, primfunc_name_hint="reverse_sequence")
