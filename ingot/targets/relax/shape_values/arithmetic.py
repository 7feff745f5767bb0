"""Element-wise operators on known tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from tvm import tirx

from ingot.targets.relax.shape_values import elements as on
from ingot.targets.relax.shape_values.known import Known, elements_of

Rule = Callable[[Sequence[Known], dict[str, Any]], "Known | list[Known] | None"]


def broadcast(function: Callable[..., Any], dtype: str, *operands: Known) -> Known | None:
    """Computes each element of the broadcast operands; None where one cannot be computed."""
    try:
        arrays = np.broadcast_arrays(*(operand.elements for operand in operands))
    except ValueError:
        return None
    values = [function(*each) for each in zip(*(a.reshape(-1) for a in arrays), strict=True)]
    if any(value is None for value in values):
        return None
    return Known(dtype, elements_of(values, arrays[0].shape))


def _binary(function: on.Binary) -> Callable[..., Known | None]:
    def rule(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
        del attributes
        left, right = inputs
        dtype = left.dtype
        return broadcast(lambda a, b: function(a, b, dtype), dtype, left, right)

    return rule


def _comparison(on_numbers: Callable[[Any, Any], bool], on_expressions: Any) -> Rule:
    compare = on.comparison(on_numbers, on_expressions)

    def rule(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
        del attributes
        left, right = inputs
        return broadcast(lambda a, b: compare(a, b, left.dtype), "bool", left, right)

    return rule


def _variadic(function: on.Binary) -> Rule:
    pairwise = _binary(function)

    def rule(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
        result: Known | None = inputs[0]
        for operand in inputs[1:]:
            result = None if result is None else pairwise([result, operand], attributes)
        return result

    return rule


def _unary(function: Callable[[Any, str], Any]) -> Rule:
    def rule(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
        del attributes
        (operand,) = inputs
        return broadcast(lambda a: function(a, operand.dtype), operand.dtype, operand)

    return rule


def _identity(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known:
    del attributes
    return inputs[0]


def _modulo(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    if attributes.get("fmod", 0):
        return None
    return _binary(on.remainder)(inputs, attributes)


def _clip(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    data, low, high = (*inputs, None, None)[:3]
    assert data is not None
    if "min" in attributes or "max" in attributes:
        return None
    clipped: Known | None = data
    if low is not None:
        clipped = broadcast(lambda a, b: on.maximum(a, b, data.dtype), data.dtype, data, low)
    if high is not None and clipped is not None:
        clipped = broadcast(lambda a, b: on.minimum(a, b, data.dtype), data.dtype, clipped, high)
    return clipped


def _where(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    del attributes
    condition, left, right = inputs
    dtype = left.dtype
    return broadcast(lambda c, a, b: on.selected(c, a, b, dtype), dtype, condition, left, right)


def _cast(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    source = inputs[0]
    try:
        target = onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]).name
    except (KeyError, TypeError):
        return None
    return convert(source, target)


def _cast_like(inputs: Sequence[Known], attributes: dict[str, Any]) -> Known | None:
    del attributes
    return convert(inputs[0], inputs[1].dtype)


_CONVERTIBLE = frozenset({"bool", "int32", "int64", "float32", "float64"})


def convert(source: Known, target: str) -> Known | None:
    """Converts a tensor to another dtype; None where that is not handled."""
    if target not in _CONVERTIBLE and not source.is_constant:
        return None
    if source.is_constant:
        if target not in _CONVERTIBLE:
            return None
        array = source.array()
        if source.is_float and target.startswith("int") and not np.isfinite(array).all():
            return None
        return Known(target, array.astype(target).astype(object))
    return broadcast(lambda a: on.converted(a, source.dtype, target), target, source)


ARITHMETIC: dict[str, Rule] = {
    "Abs": _unary(lambda a, dtype: on.maximum(a, on.subtract(0, a, dtype), dtype)),
    "Add": _binary(on.add),
    "And": _binary(on.both),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _unary(on.ceil),
    "Clip": _clip,
    "Div": _binary(on.divide),
    "Equal": _comparison(operator.eq, tirx.EQ),
    "Floor": _unary(on.floor),
    "Greater": _comparison(operator.gt, tirx.GT),
    "GreaterOrEqual": _comparison(operator.ge, tirx.GE),
    "Identity": _identity,
    "Less": _comparison(operator.lt, tirx.LT),
    "LessOrEqual": _comparison(operator.le, tirx.LE),
    "Max": _variadic(on.maximum),
    "Min": _variadic(on.minimum),
    "Mod": _modulo,
    "Mul": _binary(on.multiply),
    "Neg": _unary(on.negate),
    "Not": _unary(on.opposite),
    "Or": _binary(on.either),
    "Sub": _binary(on.subtract),
    "Sum": _variadic(on.add),
    "Where": _where,
}
