"""Exact products of 8-bit integers, the ONNX operators ``MatMulInteger`` and ``ConvInteger``.

Sums of int32 over ``(a - a_zero) * (b - b_zero)``. Of constant weights the zero points are taken
out of the product: what is multiplied are bytes, unsigned ones by signed ones, as processors do.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

from ingot.targets.relax.operators.convolution import convolved, pad_image

Integers = npt.NDArray[np.integer[Any]]

_BYTES = np.iinfo(np.int8)
_SIGN = 128
_MATRIX_AXES = 2
# Of two distances of 8-bit integers; and the integers up to it are float32's.
_LARGEST_PRODUCT = 255 * 255
_EXACT = 2**24


def matmul_integer(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``MatMulInteger``.

    Args:
        builder: The block builder to emit to.
        inputs: A [..., M, K] and B [..., K, N] of int8 or uint8, and, if there, their zero points:
            of one element, of A per row, [M] or [..., M, 1], of B per column, [N] or [..., 1, N].
        attributes: None.
    """
    del attributes
    left, right, left_zero, right_zero = (*inputs, None, None)[:4]
    left_zero = _expanded(builder, left_zero, -1)
    constants = all(
        isinstance(x, tvm.ir.GenericConst) for x in (right, right_zero) if x is not None
    )
    if not (constants and right.value.numpy().ndim == _MATRIX_AXES):
        centred = [
            _centred(builder, operand, zero)
            for operand, zero in (
                (left, left_zero), (right, _expanded(builder, right_zero, 0)),
            )
        ]  # fmt: skip
        return relax.op.matmul(*centred, out_dtype="int32")
    zeros = 0 if right_zero is None else right_zero.value.numpy().reshape(1, -1)
    weights = Weights.of(right.value.numpy(), zeros)
    source = Source.of(builder, left, left_zero)
    matrix = relax.const(weights.integers.astype(np.int16))
    product = builder.emit(relax.op.matmul(source.centred, matrix, out_dtype="int32"))
    if source.offset is not None:
        totals = relax.const(weights.integers.sum(axis=0, dtype=np.int32))
        product = _less(builder, product, source.offset, totals)
    if weights.excess is not None:
        row = _row_sums(builder, source, weights.integers.shape[0])
        product = _less(builder, product, row, relax.const(-weights.excess.reshape(-1)))
    return product


def conv_integer(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``ConvInteger``; what is padded is the zero point.

    Args:
        builder: The block builder to emit to.
        inputs: Image [N, C, ...] and weights [M, C / group, ...] of int8 or uint8, and, if there,
            their zero points: of one element, or of the weights per filter, [M].
        attributes: Those of ``Conv``.

    Raises:
        UnsupportedOperatorError: A form that ``Conv`` is not lowered in either.
    """
    image, filters, image_zero, filter_zero = (*inputs, None, None)[:4]
    image_zero = _expanded(builder, image_zero, 0)
    constants = [given for given in (filters, filter_zero) if given is not None]
    convolve = functools.partial(convolved, builder, attributes=attributes)
    if not all(isinstance(given, tvm.ir.GenericConst) for given in constants):
        filter_zero = _expanded(builder, filter_zero, 0)
        if filter_zero is not None and int(filter_zero.ty.ndim):
            shape = [-1, *[1] * (int(filters.ty.ndim) - 1)]
            filter_zero = builder.emit(relax.op.reshape(filter_zero, shape))
        operands = (
            _centred(builder, operand, zero, "int32")
            for operand, zero in ((image, image_zero), (filters, filter_zero))
        )
        return convolve(*operands)
    array = filters.value.numpy()
    spatial = (1,) * (array.ndim - 2)
    zeros = 0 if filter_zero is None else filter_zero.value.numpy().reshape(-1, 1, *spatial)
    weights = Weights.of(array, zeros)
    grouped = int(attributes.get("group", 1)) > 1
    if grouped and (weights.excess is not None or array.shape[1] == 1):
        return _grouped(builder, convolve, (image, image_zero), weights)
    source = Source.of(builder, image, image_zero)
    if source.offset is not None:
        source = source.padded(builder, filters, attributes)
        convolve = functools.partial(convolve, padded=True)

    def sums(integers: Integers) -> relax.Expr:
        constant = relax.const(np.ascontiguousarray(integers.astype(np.int16)))
        result = builder.emit(convolve(source.centred, constant, dtype="int32"))
        if source.offset is None:
            return result
        totals = integers.reshape(len(integers), -1).sum(axis=1, dtype=np.int32)
        totals = totals.reshape(1, -1, *spatial)
        return _less(builder, result, source.offset, relax.const(totals))

    if weights.excess is None:
        return sums(weights.integers)
    # What all weights of a filter have in common multiplies the sum of the values.
    totals = sums(np.ones_like(array[:1], np.int32))
    excess = -weights.excess.reshape((1, -1, *spatial) if weights.excess.size > 1 else ())
    return _less(builder, sums(weights.integers), totals, relax.const(excess))


def _grouped(
    builder: relax.BlockBuilder,
    convolve: Any,
    image: tuple[relax.Expr, relax.Expr | None],
    weights: Weights,
) -> relax.Expr:
    """Filters per channel, or that are no bytes: in float32 where its sums are exact, or int32."""
    integers = weights.integers + (0 if weights.excess is None else weights.excess)
    exact = integers[0].size * _LARGEST_PRODUCT < _EXACT
    dtype = "float32" if exact else "int32"
    centred = _centred(builder, *image, "int32")
    if exact:
        centred = builder.emit(relax.op.astype(centred, dtype))
    result = convolve(centred, relax.const(np.ascontiguousarray(integers.astype(dtype))))
    return relax.op.astype(builder.emit(result), "int32") if exact else result


@dataclasses.dataclass(frozen=True)
class Weights:
    """Constant integers as signed bytes: ``value - zero point = integers + excess``.

    Attributes:
        integers: int32, within 8 bits.
        excess: int32, shaped to be broadcast against the integers; None where it is zero.
    """

    integers: Integers
    excess: Integers | None

    @classmethod
    def of(cls, values: Integers, zeros: Integers | int) -> Weights:
        """Splits weights.

        Args:
            values: int8 or uint8.
            zeros: Their zero points, shaped to be broadcast against them.
        """
        wide = values.astype(np.int32)
        centred = wide - np.asarray(zeros, np.int32)
        if centred.min(initial=0) >= _BYTES.min and centred.max(initial=0) <= _BYTES.max:
            return cls(centred, None)
        shift = _SIGN if values.dtype == np.uint8 else 0
        return cls(wide - shift, shift - np.asarray(zeros, np.int32))


@dataclasses.dataclass(frozen=True)
class Source:
    """Activations as what a product reads: ``value - zero point = centred - offset``.

    Attributes:
        centred: int16, unsigned bytes less a constant.
        offset: int32, what a zero point that is computed leaves to subtract; None where there is
            none.
    """

    centred: relax.Expr
    offset: relax.Expr | None

    @classmethod
    def of(cls, builder: relax.BlockBuilder, values: Any, zero: Any | None) -> Source:
        """Describes activations of int8 or uint8 and their zero points."""
        shift = _SIGN if str(values.ty.dtype) == "int8" else 0
        if shift:
            raised = builder.emit(relax.op.astype(values, "int16"))
            raised = builder.emit(relax.op.add(raised, relax.const(shift, "int16")))
            values = builder.emit(relax.op.astype(raised, "uint8"))
        wide = builder.emit(relax.op.astype(values, "int16"))
        known = np.zeros((), np.int32)
        if isinstance(zero, tvm.ir.GenericConst):
            known = zero.value.numpy().astype(np.int32)
        if zero is None or (isinstance(zero, tvm.ir.GenericConst) and known.size == 1):
            constant = int(known.reshape(())) + shift
            if constant:
                wide = builder.emit(relax.op.subtract(wide, relax.const(constant, "int16")))
            return cls(wide, None)
        offset = builder.emit(relax.op.astype(zero, "int32"))
        if shift:
            offset = builder.emit(relax.op.add(offset, relax.const(shift, "int32")))
        return cls(wide, offset)

    def padded(
        self, builder: relax.BlockBuilder, filters: relax.Expr, attributes: dict[str, Any]
    ) -> Source:
        """An image with its zero point around it, where that is computed."""
        assert self.offset is not None
        zero = builder.emit(relax.op.astype(self.offset, "int16"))
        real = builder.emit(relax.op.subtract(self.centred, zero))
        padded = pad_image(builder, real, filters, attributes)
        if padded.same_as(real):
            return self
        integers = builder.emit(relax.op.astype(builder.emit(relax.op.add(padded, zero)), "uint8"))
        return Source(builder.emit(relax.op.astype(integers, "int16")), self.offset)


def _centred(
    builder: relax.BlockBuilder, values: Any, zero: Any | None, dtype: str = "int16"
) -> relax.Expr:
    wide = builder.emit(relax.op.astype(values, dtype))
    if zero is None:
        return wide
    return builder.emit(relax.op.subtract(wide, builder.emit(relax.op.astype(zero, dtype))))


def _expanded(builder: relax.BlockBuilder, zero: Any | None, axis: int) -> Any | None:
    """Zero points of a vector as a column (axis -1) or a row (axis 0); single ones as scalars."""
    if zero is None or int(zero.ty.ndim) != 1:
        return zero
    if isinstance(zero, tvm.ir.GenericConst):
        array = zero.value.numpy()
        return relax.const(array.reshape(()) if array.size == 1 else np.expand_dims(array, axis))
    return builder.emit(relax.op.expand_dims(zero, axis))


def _row_sums(builder: relax.BlockBuilder, source: Source, depth: int) -> relax.Expr:
    """Sums of the centred activations over the reduction, int32 [..., M, 1]."""
    wide = builder.emit(relax.op.astype(source.centred, "int32"))
    total = builder.emit(relax.op.sum(wide, axis=-1, keepdims=True))
    if source.offset is None:
        return total
    return _less(builder, total, source.offset, relax.const(depth, "int32"))


def _less(
    builder: relax.BlockBuilder, value: relax.Expr, left: relax.Expr, right: relax.Expr
) -> relax.Expr:
    """A value less the product of two."""
    return builder.emit(relax.op.subtract(value, builder.emit(relax.op.multiply(left, right))))
