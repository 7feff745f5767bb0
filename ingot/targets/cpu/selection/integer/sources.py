"""Which tensors are 8-bit integers that a kernel can read as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, te

from ingot.targets.cpu.kernels.writing.emission import as_float, index
from ingot.targets.cpu.selection.base import (
    FEW_CHANNELS,
    NCHW_TO_NHWC,
    Selection,
    is_call,
    producer,
)


@dataclasses.dataclass(frozen=True)
class Quantized:
    """A tensor of 8-bit integers that stands for their distance from a zero point.

    Attributes:
        values: The tensor, ``uint8``.
        zero_point: The zero point.
        channels_first: Whether it is NCHW though the reader wants NHWC.
    """

    values: relax.Expr
    zero_point: int
    channels_first: bool = False


def quantized_source(selection: Selection, centred: relax.Expr) -> Quantized | None:
    """Returns what ``int16`` values were made of by subtracting a zero point."""
    call, permuted, widened = producer(selection, centred), None, None
    if is_call(call, "relax.permute_dims"):
        call, permuted = producer(selection, call.args[0]), call
    if is_call(call, "relax.expand_dims") or is_call(call, "relax.reshape"):
        # A signal as an image of one row.
        call, widened = producer(selection, call.args[0]), call
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
        return Quantized(values, zero_point)
    axes = tuple(int(axis) for axis in permuted.attrs.axes)
    if axes == NCHW_TO_NHWC and int(permuted.ty.shape[-1]) <= FEW_CHANNELS:
        return Quantized(values, zero_point, channels_first=True)
    return Quantized(selection.builder.emit(relax.op.permute_dims(values, list(axes))), zero_point)


@dataclasses.dataclass(frozen=True)
class Dequantized:
    """A ``float32`` tensor made of 8-bit integers.

    Attributes:
        values: The integers, ``uint8`` or ``int8``.
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
    if not is_call(call, "relax.astype") or str(call.args[0].ty.dtype) not in ("uint8", "int8"):
        return None
    return Dequantized(call.args[0], int(zero_point), scale)


def _scalar(expression: relax.Expr) -> float | None:
    if not isinstance(expression, tvm.ir.GenericConst):
        return None
    array = expression.value.numpy()
    return float(array.reshape(())) if array.size == 1 else None
