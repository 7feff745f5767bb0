"""Evaluates nodes whose inputs are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax

from ingot.targets.relax.expressions import product, shape_of
from ingot.targets.relax.shape_values.arithmetic import ARITHMETIC
from ingot.targets.relax.shape_values.known import LARGEST, Known, known_of, known_scalar
from ingot.targets.relax.shape_values.reduction import REDUCTION, shape_of_tensor
from ingot.targets.relax.shape_values.selection import SELECTION

_RULES = {**ARITHMETIC, **SELECTION, **REDUCTION}


def evaluate(
    operator: str, inputs: Sequence[Any], attributes: dict[str, Any]
) -> list[Known] | None:
    """Evaluates a node of the standard domain.

    Args:
        operator: The ONNX operator.
        inputs: Known tensors and Relax expressions; None where an input is left out.
        attributes: The node's attributes, the number of outputs among them.

    Returns:
        The node's outputs, or None where it computes on data, or in a way that no rule describes.
    """
    if operator in ("Shape", "Size") and isinstance(inputs[0], relax.Expr):
        sizes = shape_of(inputs[0])
        if operator == "Size":
            return [known_scalar(product(sizes))]
        return [shape_of_tensor(sizes, attributes)]
    if operator in ("Shape", "Size") and isinstance(inputs[0], Known):
        shape = shape_of_tensor(inputs[0].shape, attributes)
        return [shape if operator == "Shape" else known_scalar(product(inputs[0].shape))]
    rule = _RULES.get(operator)
    if rule is None:
        return None
    known = [known_of(entry) for entry in inputs]
    if any(k is None and entry is not None for k, entry in zip(known, inputs, strict=True)):
        return None
    if not any(isinstance(entry, Known) for entry in inputs) and any(
        k is not None and k.is_float for k in known
    ):
        # Weights: not the arithmetic of shapes.
        return None
    result = rule(known, attributes)  # type: ignore[arg-type]
    if result is None:
        return None
    outputs = result if isinstance(result, list) else [result]
    return outputs if all(each.elements.size <= LARGEST for each in outputs) else None
