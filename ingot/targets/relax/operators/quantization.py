"""Quantized tensors: ONNX's ``QuantizeLinear``, ``DequantizeLinear`` and ``DynamicQuantizeLinear``.

With constant scales and zero points, one for the tensor or one per index of an axis, these become
Relax's ``quantize`` and ``dequantize``, which targets recognize. Any other form (scales that are
computed, blocks of elements that share one) becomes the arithmetic that it stands for, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import tvm
from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError

# Types of integers that code can hold; narrower ones and floats of 8 bits are not among them.
_INTEGERS = frozenset({"int8", "uint8", "int16", "uint16"})
_FLOATS = frozenset({"float32", "float16", "bfloat16"})


def quantize_linear(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``QuantizeLinear``.

    Args:
        builder: The block builder to emit to.
        inputs: The tensor, its scales and, if there, zero points.
        attributes: ``axis``, ``block_size``, ``output_dtype`` and ``precision``.

    Raises:
        UnsupportedOperatorError: The result's type is not one of integers of 8 or 16 bits, or
            division is asked for in float64.
    """
    values, scale, zero_point = (*inputs, None)[:3]
    dtype = _result_type(zero_point, attributes)
    precision = _precision(scale, attributes)
    rank = _rank(values)
    values = _as_float(builder, values)
    if precision == "float32" and _is_plain(scale, zero_point, attributes):
        axis = _axis(attributes, rank, scale)
        zero_point = relax.const(np.zeros((), dtype)) if zero_point is None else zero_point
        return relax.op.quantize(
            values, _float_constant(scale), _squeezed(zero_point), axis=axis, out_dtype=dtype
        )
    limits = np.iinfo(dtype)
    quotient = scaled_down(builder, values, scale, attributes)
    bounds = (int(limits.min), int(limits.max))
    return rounded(builder, quotient, zero_point, attributes, bounds, dtype)


def scaled_down(
    builder: relax.BlockBuilder, values: Any, scale: Any, attributes: dict[str, Any]
) -> relax.Expr:
    """Returns a tensor divided by its scales, in float32.

    Raises:
        UnsupportedOperatorError: Division is asked for in float64.
    """
    precision = _precision(scale, attributes)
    values = _as_float(builder, values)
    divisor = _spread(builder, scale, values, attributes)
    result = builder.emit(relax.op.divide(values, divisor))
    if precision != "float32":
        # A quotient of float32 rounds to what division in the shorter type gives.
        result = _as_float(builder, builder.emit(relax.op.astype(result, precision)))
    return result


def rounded(
    builder: relax.BlockBuilder,
    quotient: relax.Expr,
    zero_point: Any,
    attributes: dict[str, Any],
    bounds: tuple[int, int],
    dtype: str,
) -> relax.Expr:
    """Returns quotients as integers within bounds, zero points added, held in a type."""
    result = builder.emit(relax.op.round(quotient))
    if zero_point is not None:
        offset = _spread(builder, zero_point, quotient, attributes)
        result = builder.emit(relax.op.add(result, offset))
    lowest, highest = (relax.const(float(bound), "float32") for bound in bounds)
    result = builder.emit(relax.op.maximum(result, lowest))
    result = builder.emit(relax.op.minimum(result, highest))
    return relax.op.astype(result, dtype)


def dequantize_linear(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``DequantizeLinear``.

    Args:
        builder: The block builder to emit to.
        inputs: The integers, their scales and, if there, zero points.
        attributes: ``axis``, ``block_size`` and ``output_dtype``.

    Raises:
        UnsupportedOperatorError: Scales or result are of a type that is not lowered.
    """
    values, scale, zero_point = (*inputs, None)[:3]
    rank, dtype = _rank(values), _float_type(scale, attributes)
    if _is_plain(scale, zero_point, attributes):
        axis = _axis(attributes, rank, scale)
        if zero_point is None:
            zero_point = relax.const(np.zeros((), str(values.ty.dtype)))
        result = relax.op.dequantize(
            values, _float_constant(scale), _squeezed(zero_point), axis=axis, out_dtype="float32"
        )
        return result if dtype == "float32" else relax.op.astype(builder.emit(result), dtype)
    centred = _as_float(builder, values)
    if zero_point is not None:
        offset = _spread(builder, zero_point, values, attributes)
        centred = builder.emit(relax.op.subtract(centred, offset))
    return scaled_up(builder, centred, scale, attributes)


def scaled_up(
    builder: relax.BlockBuilder, values: relax.Expr, scale: Any, attributes: dict[str, Any]
) -> relax.Expr:
    """Returns a tensor of float32 multiplied by its scales, of the type that is asked for.

    Raises:
        UnsupportedOperatorError: Scales or result are of a type that is not lowered.
    """
    dtype = _float_type(scale, attributes)
    result = relax.op.multiply(values, _spread(builder, scale, values, attributes))
    return result if dtype == "float32" else relax.op.astype(builder.emit(result), dtype)


def dynamic_quantize_linear(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``DynamicQuantizeLinear``: to uint8, on the grid that just holds all values and 0.

    A tensor of zeros has the scale 1, as in ONNX Runtime.

    Args:
        builder: The block builder to emit to.
        inputs: The tensor, float32.
        attributes: None.

    Returns:
        A tuple of the integers, the scale and the zero point.
    """
    del attributes
    (values,) = inputs
    emit = builder.emit
    zero, one, steps = (relax.const(number, "float32") for number in (0.0, 1.0, 255.0))
    high = emit(relax.op.maximum(emit(relax.op.max(values)), zero))
    low = emit(relax.op.minimum(emit(relax.op.min(values)), zero))
    reach = emit(relax.op.subtract(high, low))
    is_flat = emit(relax.op.equal(reach, zero))
    scale = emit(relax.op.where(is_flat, one, emit(relax.op.divide(reach, steps))))
    centre = emit(relax.op.subtract(zero, emit(relax.op.divide(low, scale))))
    bounded = emit(relax.op.minimum(emit(relax.op.maximum(centre, zero)), steps))
    centre = emit(relax.op.round(bounded))
    shifted = emit(relax.op.round(emit(relax.op.divide(values, scale))))
    shifted = emit(relax.op.add(shifted, centre))
    shifted = emit(relax.op.minimum(emit(relax.op.maximum(shifted, zero)), steps))
    integers = emit(relax.op.astype(shifted, "uint8"))
    return relax.Tuple([integers, scale, emit(relax.op.astype(centre, "uint8"))])


def _precision(scale: Any, attributes: dict[str, Any]) -> str:
    """The type in which QuantizeLinear divides."""
    asked = attributes.get("precision", 0)
    precision = _type_name(asked) if asked else str(scale.ty.dtype)
    if precision not in _FLOATS:
        raise UnsupportedOperatorError(f"a division in {precision} is not lowered")
    return precision


def _float_type(scale: Any, attributes: dict[str, Any]) -> str:
    """The type of DequantizeLinear's result."""
    given, asked = str(scale.ty.dtype), attributes.get("output_dtype", 0)
    dtype = _type_name(asked) if asked else given
    if not {given, dtype} <= _FLOATS:
        raise UnsupportedOperatorError(f"scales of {given} for a result of {dtype} are not lowered")
    return dtype


def _result_type(zero_point: relax.Expr | None, attributes: dict[str, Any]) -> str:
    wanted = attributes.get("output_dtype", 0)
    dtype = "uint8"
    if wanted:
        dtype = _type_name(wanted)
    elif zero_point is not None:
        dtype = str(zero_point.ty.dtype)
    if dtype not in _INTEGERS:
        raise UnsupportedOperatorError(f"quantization to {dtype} is not lowered")
    return dtype


def _type_name(wanted: Any) -> str:
    """The NumPy name of a type that an attribute holds, as ONNX's number or as a name already."""
    return wanted if isinstance(wanted, str) else ir.DataType(int(wanted)).numpy().name


def _rank(values: relax.Expr) -> int:
    rank = int(values.ty.ndim)
    if rank < 0:
        raise UnsupportedOperatorError("a tensor of unknown rank is not lowered")
    return rank


def _is_plain(scale: Any, zero_point: Any, attributes: dict[str, Any]) -> bool:
    """Whether scales and zero points are constants, one for the tensor or one per index."""
    constants = all(
        isinstance(given, tvm.ir.GenericConst) for given in (scale, zero_point) if given is not None
    )
    return constants and not attributes.get("block_size", 0)


def _axis(attributes: dict[str, Any], rank: int, scale: Any) -> int:
    """The axis that scales run along, not negative; 0 where there is one scale."""
    if _is_single(scale):
        return 0
    axis = int(attributes.get("axis", 1))
    # Of a vector there is but one axis, though the default is the second.
    return 0 if rank == 1 else axis % rank


def _is_single(scale: Any) -> bool:
    shape = scale.ty.shape
    return all(isinstance(size, tirx.IntImm) and int(size) == 1 for size in shape)


def _squeezed(constant: Any) -> relax.Expr:
    """A constant of one element as a scalar, others as they are."""
    array = constant.value.numpy()
    return relax.const(array.reshape(())) if array.size == 1 else constant


def _float_constant(constant: Any) -> relax.Expr:
    array = constant.value.numpy().astype(np.float32)
    return relax.const(array.reshape(()) if array.size == 1 else array)


def _as_float(builder: relax.BlockBuilder, values: Any) -> relax.Expr:
    if str(values.ty.dtype) == "float32":
        return values
    return builder.emit(relax.op.astype(values, "float32"))


def _spread(
    builder: relax.BlockBuilder, given: Any, values: Any, attributes: dict[str, Any]
) -> relax.Expr:
    """Scales or zero points in float32, shaped to be broadcast against a tensor."""
    given = _as_float(builder, given)
    rank = _rank(values)
    block = int(attributes.get("block_size", 0))
    if block:
        axis = int(attributes.get("axis", 1)) % rank
        repeated = builder.emit(relax.op.repeat(given, block, axis))
        size = values.ty.shape[axis]
        return builder.emit(relax.op.strided_slice(repeated, [axis], [0], [size]))
    if _is_single(given):
        return builder.emit(relax.op.reshape(given, ())) if _rank(given) else given
    if _rank(given) != 1:
        raise UnsupportedOperatorError(f"scales of {_rank(given)} axes are not lowered")
    shape: Sequence[Any] = [1] * rank
    axis = _axis(attributes, rank, given)
    shape = [*shape[:axis], given.ty.shape[0], *shape[axis + 1 :]]
    return builder.emit(relax.op.reshape(given, shape))
