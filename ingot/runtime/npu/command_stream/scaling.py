"""From accumulators to elements: scale, round, add the zero point, clip.

The three roundings of a value scaled by ``multiplier / 2**shift``:

* ``NATURAL``: to the nearest, half up; ``apply_scale_32`` and ``apply_scale_16`` of the TOSA
  specification (1.0, section 2.4, "Scaling operators") with ``SINGLE_ROUND``.
* ``DOUBLE``: the high half of the doubled 64-bit product is rounded before the remaining shift
  rounds again, half away from zero; the specification's ``DOUBLE_ROUND``, which gives the bits of
  gemmlowp's ``SaturatingRoundingDoublingHighMul`` followed by ``RoundingDivideByPOT``.
* ``TRUNCATE``: toward zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.registers import (
    Accumulator,
    Activation,
    Clip,
    FeatureMap,
    Rounding,
)

Integers = npt.NDArray[np.int64]

_RECORD = 10
_SAFE = 1 << 61
_CLIP_DTYPES: dict[Clip, np.dtype[Any]] = {
    Clip.FORCE_UINT8: np.dtype("u1"),
    Clip.FORCE_INT8: np.dtype("i1"),
    Clip.FORCE_INT16: np.dtype("<i2"),
}
_ACCUMULATOR_BITS = {Accumulator.INT32: 32, Accumulator.INT40: 40}


def scale(
    values: Integers,
    multiplier: int | Integers,
    shift: int | Integers,
    rounding: Rounding,
) -> Integers:
    """Returns ``values * multiplier / 2**shift`` as integers.

    Args:
        values: Any shape; signed, up to 40 bits.
        multiplier: Unsigned, up to 32 bits: one, or one for each element of the last axis.
        shift: 0 to 63, likewise.
        rounding: How.
    """
    multipliers = np.asarray(multiplier, np.int64)
    largest = max(abs(int(values.min(initial=0))), abs(int(values.max(initial=0))))
    if largest * int(multipliers.max(initial=0)) < _SAFE:
        fast: Integers = _rounded(values * multipliers, np.asarray(shift, np.int64), rounding)
        return fast
    wide = values.astype(object) * multipliers.astype(object)
    exact = _rounded(wide, np.asarray(shift, np.int64).astype(object), rounding)
    if max(abs(exact.min()), abs(exact.max())) >= 1 << 62:
        raise CommandError("a scaled result exceeds 62 bits")
    slow: Integers = exact.astype(np.int64)
    return slow


def _rounded(product: Any, shift: Any, rounding: Rounding) -> Any:
    one = np.ones_like(shift)
    if rounding is Rounding.TRUNCATE:
        magnitude = abs(product) >> shift
        return np.where(product < 0, -magnitude, magnitude)
    half = np.where(shift > 0, one << np.maximum(shift - 1, 0), 0 * one)
    if rounding is Rounding.NATURAL:
        return (product + half) >> shift
    first = np.where(shift > 31, one << 30, 0 * one)
    return (product + half + np.where(product < 0, -first, first)) >> shift


def scale_records(data: npt.NDArray[np.uint8], channels: int) -> tuple[Integers, ...]:
    """Returns biases, multipliers and shifts of the channels.

    A record has 10 bytes, little endian: a bias of 40 bits, a multiplier of 32, a shift of 6 and
    two bits 0 (ethos-u-vela, ``weight_compressor.py``).

    Raises:
        CommandError: There are fewer records than channels, or one's last bits are not 0.
    """
    if data.size < channels * _RECORD:
        raise CommandError(f"{channels} channels need {channels * _RECORD} bytes of scales")
    records = data[: channels * _RECORD].reshape(channels, _RECORD).astype(np.int64)
    if (records[:, 9] >> 6).any():
        raise CommandError("a scale record sets bits that mean nothing")
    powers = 1 << 8 * np.arange(5, dtype=np.int64)
    biases = records[:, :5] @ powers
    biases -= (biases >> 39) << 40
    multipliers: Integers = records[:, 5:9] @ powers[:4]
    return biases, multipliers, records[:, 9]


def check_accumulators(values: Integers, accumulator: Accumulator) -> None:
    """Checks that sums fit their accumulators.

    Raises:
        CommandError: One does not, or the accumulators are not integers.
    """
    bits = _ACCUMULATOR_BITS.get(accumulator)
    if bits is None:
        raise CommandError("it accumulates in 16-bit floating point, which is not simulated")
    limit = 1 << bits - 1
    if values.size and not (-limit <= values.min() and values.max() < limit):
        raise CommandError(f"a sum overflows the accumulators' {bits} bits")


def activate(
    values: Integers, ofm: FeatureMap, activation: Activation, table: npt.NDArray[Any] | None
) -> npt.NDArray[Any]:
    """Returns what is written for scaled results: zero point, clip, table.

    Limits are 16 bits wide; a result of 32 bits is not clipped, and its limits are those of
    16 bits (so ethos-u-vela emits it).

    Args:
        values: Scaled results.
        ofm: Where they go.
        activation: What to do.
        table: The table's bytes, if the activation has one.

    Raises:
        CommandError: A 32-bit result does not fit or has limits, or the limits are reversed.
    """
    values = values + ofm.zero_point
    kind = _CLIP_DTYPES.get(activation.clip, ofm.dtype)
    if kind.itemsize == 4 and activation.clip is Clip.OFM_PRECISION:
        if (activation.low, activation.high) != (0x8000, 0x7FFF):
            raise CommandError("a result of 32 bits has limits, which is not simulated")
        limits = np.iinfo(np.int32)
        if values.size and (values.min() < limits.min or values.max() > limits.max):
            raise CommandError("a result does not fit 32 bits")
        clipped = values
    else:
        clipped = _clip(values, kind, activation)
    if table is None:
        return clipped.astype(ofm.dtype)
    return look_up(clipped - int(np.iinfo(kind).min), table, ofm.dtype)


def _clip(values: Integers, kind: np.dtype[Any], activation: Activation) -> Integers:
    low, high = (
        limit - (1 << 16) if kind.kind == "i" and limit >> 15 else limit
        for limit in (activation.low, activation.high)
    )
    limits = np.iinfo(kind)
    if low > high:
        raise CommandError(f"it clips to {low} at least and {high} at most")
    return np.clip(values, max(low, int(limits.min)), min(high, int(limits.max)))


def look_up(indices: Integers, table: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Returns table entries, interpolated ones for 16 bits.

    Args:
        indices: Clipped results, less the lowest that there is.
        table: 256 elements of 8 or 32 bits, the result's, the one for the lowest index first; or,
            for a result of 16 bits, 512 words for 128 indices each: the value at the first of
            them in the lower half, the slope in the upper.
        dtype: The result's.
    """
    if dtype.itemsize != 2:
        entries: npt.NDArray[Any] = table.view(dtype)
        return np.take(entries, indices)
    words = table.view("<u4").astype(np.int64)
    word = words[indices >> 7]
    value, slope = ((half ^ 0x8000) - 0x8000 for half in (word & 0xFFFF, word >> 16))
    result: Integers = value + ((slope * (indices & 127) + 64) >> 7)
    return result.astype(dtype)
