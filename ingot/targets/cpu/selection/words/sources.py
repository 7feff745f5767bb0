"""Which tensors are 8-bit integers or bfloat16 that a kernel can read as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te

from ingot.targets.cpu.bfloat16 import multiplies_pairs
from ingot.targets.cpu.kernels.anchors import Word
from ingot.targets.cpu.kernels.writing.emission import as_float, index
from ingot.targets.cpu.selection.base import (
    FEW_CHANNELS,
    NCHW_TO_NHWC,
    Selection,
    is_call,
    producer,
)

# What a kernel of float32 can read instead.
_READ_AS_FLOATS = ("uint8", "int8", "bfloat16")
# Of the vectors in which pairs of bfloat16 are multiplied.
_LANES = 16


@dataclasses.dataclass(frozen=True)
class Words:
    """A tensor that is multiplied word by word: of 8-bit integers, or of bfloat16.

    Attributes:
        values: The tensor, ``uint8`` or ``bfloat16``.
        word: What a word of it is.
        zero_point: What integers stand for their distance from.
        channels_first: Whether it is NCHW though the reader wants NHWC.
    """

    values: relax.Expr
    word: Word
    zero_point: int = 0
    channels_first: bool = False


def word_source(
    selection: Selection, values: relax.Expr, weights: npt.NDArray[Any]
) -> Words | None:
    """Returns what a product reads word by word; None where it has to read float32.

    Args:
        selection: The surroundings.
        values: What the product reads: ``int16`` for centred bytes, or ``float32``.
        weights: What it is multiplied by, of the same type.
    """
    types = (str(values.ty.dtype), str(weights.dtype))
    if types == ("int16", "int16"):
        return _quantized_source(selection, values)
    return _bfloat16_source(selection, values, weights) if types == ("float32",) * 2 else None


def _bfloat16_source(
    selection: Selection, floats: relax.Expr, weights: npt.NDArray[Any]
) -> Words | None:
    """Returns what ``float32`` values were made of, where the processor multiplies it by weights.

    Args:
        selection: The surroundings.
        floats: What a product reads.
        weights: What it is multiplied by.
    """
    cpu = selection.cpu
    if not multiplies_pairs(cpu.features) or cpu.float_lanes != _LANES:
        return None
    call, permuted, widened = _moved(selection, floats)
    if not is_call(call, "relax.astype") or str(call.args[0].ty.dtype) != "bfloat16":
        return None
    if not np.array_equal(weights, weights.astype(ml_dtypes.bfloat16).astype(weights.dtype)):
        return None
    values = call.args[0]
    if widened is not None:
        values = selection.builder.emit(relax.op.reshape(values, widened.ty.shape))
    if permuted is not None:
        axes = [int(axis) for axis in permuted.attrs.axes]
        values = selection.builder.emit(relax.op.permute_dims(values, axes))
    return Words(values, "bfloat16")


def as_stored(selection: Selection, floats: relax.Expr) -> relax.Expr:
    """Returns the bfloat16 that ``float32`` values were made of, or the values themselves.

    For kernels that make float32 of what they read.
    """
    call = producer(selection, floats)
    if is_call(call, "relax.astype") and str(call.args[0].ty.dtype) == "bfloat16":
        return call.args[0]
    return floats


def _moved(
    selection: Selection, values: relax.Expr
) -> tuple[relax.Call | None, relax.Call | None, relax.Call | None]:
    """The call that made what was reshaped and permuted to become some values, and these calls."""
    call, permuted, widened = producer(selection, values), None, None
    if is_call(call, "relax.permute_dims"):
        call, permuted = producer(selection, call.args[0]), call
    if is_call(call, "relax.expand_dims") or is_call(call, "relax.reshape"):
        # A signal as an image of one row.
        call, widened = producer(selection, call.args[0]), call
    return call, permuted, widened


def _quantized_source(selection: Selection, centred: relax.Expr) -> Words | None:
    """Returns what ``int16`` values were made of by subtracting a zero point."""
    call, permuted, widened = _moved(selection, centred)
    zero_point = 0
    if is_call(call, "relax.subtract"):
        if not isinstance(call.args[1], tvm.ir.GenericConst):
            return None
        zero_point = int(call.args[1].value.numpy())
        call = producer(selection, call.args[0])
    if not is_call(call, "relax.astype") or str(call.args[0].ty.dtype) != "uint8":
        return None
    values = call.args[0]
    if widened is not None:
        shape = widened.ty.shape
        values = selection.builder.emit(relax.op.reshape(values, shape))
    if permuted is None:
        return Words(values, "uint8", zero_point)
    axes = tuple(int(axis) for axis in permuted.attrs.axes)
    if axes == NCHW_TO_NHWC and int(permuted.ty.shape[-1]) <= FEW_CHANNELS:
        return Words(values, "uint8", zero_point, channels_first=True)
    values = selection.builder.emit(relax.op.permute_dims(values, list(axes)))
    return Words(values, "uint8", zero_point)


@dataclasses.dataclass(frozen=True)
class Dequantized:
    """A ``float32`` tensor made of a shorter type.

    Attributes:
        values: Integers, ``uint8`` or ``int8``, or ``bfloat16``.
        zero_point: What is subtracted from them.
        scale: What they are multiplied with.
    """

    values: relax.Expr
    zero_point: int
    scale: float

    @property
    def centre(self) -> list[relax.Expr]:
        """A tensor of what a kernel subtracts from the integers, if anything."""
        if not self.zero_point:
            return []
        # Not part of the code, or equal layers would be compiled one by one.
        return [relax.const(np.array([self.zero_point], np.float32))]


def centred_element(centre: Sequence[te.Tensor]) -> Callable[[Any], Any]:
    """Returns what becomes of an image's elements, given what to subtract from them."""

    def element(value: Any) -> Any:
        value = as_float(value)
        for zero_point in centre:
            value = value - zero_point(index(0))
        return value

    return element


def dequantized_source(selection: Selection, image: relax.Expr) -> Dequantized | None:
    """Returns what an image was dequantized from, by one scale and zero point for all of it."""
    call, scale, zero_point = producer(selection, image), 1.0, 0.0
    if is_call(call, "relax.multiply"):
        factor = _scalar(call.args[1])
        if factor is None or factor <= 0:
            return None
        call, scale = producer(selection, call.args[0]), factor
    if is_call(call, "relax.subtract"):
        centre = _scalar(call.args[1])
        if centre is None:
            return None
        call, zero_point = producer(selection, call.args[0]), centre
    if not is_call(call, "relax.astype") or str(call.args[0].ty.dtype) not in _READ_AS_FLOATS:
        return None
    return Dequantized(call.args[0], int(zero_point), scale)


def _scalar(expression: relax.Expr) -> float | None:
    if not isinstance(expression, tvm.ir.GenericConst):
        return None
    array = expression.value.numpy()
    return float(array.reshape(())) if array.size == 1 else None
