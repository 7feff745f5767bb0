"""Pooling: the maximum, the average or the sum of what is under a kernel."""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream.window import Window

Integers = npt.NDArray[np.int64]


class Pooling(enum.IntEnum):
    """The kinds of pooling."""

    MAX = 0
    AVERAGE = 1
    REDUCE_SUM = 2


def pool_max(window: Window) -> Integers:
    """Returns the greatest value under the kernel, less the zero point; padding is never it."""
    lowest = int(np.iinfo(window.values.dtype).min)
    result = np.full((*window.area, window.values.shape[2]), lowest, np.int64)
    for *_, values in window.taps(window.padded(window.values, lowest)):
        np.maximum(result, values, out=result)
    return result - window.zero_point


def pool_sum(window: Window) -> Integers:
    """Returns the sum of what is under the kernel, less the zero point; padding counts as 0."""
    centred = window.values.astype(np.int64) - window.zero_point
    result = np.zeros((*window.area, window.values.shape[2]), np.int64)
    for *_, values in window.taps(window.padded(centred, 0)):
        result += values
    return result


def pool_average_padded(window: Window) -> Integers:
    """Returns the average of what is under the kernel, padding left out.

    With padding the NPU divides by the number of elements under the kernel by itself and takes no
    ``OFM_SCALE`` (Arm, "Ethos-U55 NPU Technical Reference Manual", limits of average pooling). It
    rounds to the nearest, half away from zero, as TensorFlow Lite does, and as TOSA's
    ``AVG_POOL2D`` does by its rounded-up reciprocals.
    """
    counts = np.zeros((*window.area, 1), np.int64)
    ones = np.ones((*window.values.shape[:2], 1), np.int64)
    for *_, values in window.taps(window.padded(ones, 0)):
        counts += values
    sums = pool_sum(window)
    averages: Integers = np.sign(sums) * ((2 * np.abs(sums) + counts) // (2 * counts))
    return averages


def reduce_sum(window: Window) -> Integers:
    """Returns the sum over the channels, less the zero point, as a result of depth 1."""
    centred = window.values.astype(np.int64) - window.zero_point
    sums: Integers = centred.sum(axis=2, keepdims=True)
    return sums
