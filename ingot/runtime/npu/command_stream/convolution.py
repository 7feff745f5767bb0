"""Convolutions: sums of products over a kernel, a scale and a bias for each output channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream.window import Window

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Below so many input channels, one product of gathered inputs is faster than one per element.
_GATHERED_DEPTH = 16


def convolve(window: Window, weights: Floats) -> Integers:
    """Returns the sums of a convolution over all input channels.

    Products and sums are below 2**53 (16-bit inputs, 9-bit weights, at most 2**28 of them), so
    that floating point of 64 bits, and with it a fast matrix product, is exact.

    Args:
        window: The input and the kernel over it.
        weights: Output channels by height by width by input channels.

    Returns:
        Height by width by output channels.
    """
    padded = window.padded(window.values.astype(np.float64), window.zero_point)
    padded -= window.zero_point
    height, width = window.area
    outputs, *_, depth = weights.shape
    taps = [(row, column, values) for row, column, values in window.taps(padded)]
    if depth < _GATHERED_DEPTH:
        gathered = np.concatenate([values for *_, values in taps], axis=2)
        sums = gathered.reshape(height * width, -1) @ weights.reshape(outputs, -1).T
    else:
        sums = np.zeros((height * width, outputs))
        for row, column, values in taps:
            sums += values.reshape(height * width, depth) @ weights[:, row, column].T
    exact: Integers = sums.reshape(height, width, outputs).astype(np.int64)
    return exact


def convolve_depthwise(window: Window, weights: Floats) -> Integers:
    """Returns the sums of a convolution of each channel by itself.

    Args:
        window: The input and the kernel over it.
        weights: Channels by height by width by 1.

    Returns:
        Height by width by channels.
    """
    padded = window.padded(window.values.astype(np.float64), window.zero_point)
    padded -= window.zero_point
    sums = np.zeros((*window.area, padded.shape[2]))
    for row, column, values in window.taps(padded):
        sums += values * weights[:, row, column, 0]
    return sums.astype(np.int64)
