"""Integer grids: which real numbers an integer of 16, 8 or fewer bits stands for.

A grid is ``real = (integer - zero_point) * scale``, the affine scheme of Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(CVPR 2018), and of ONNX's QuantizeLinear.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ingot.passes.quantization.headroom import Headroom

FloatArray = npt.NDArray[np.floating[Any]]

# Scales below are widened to it: a product of two of them is still a normal float32, and a value
# divided by one is still finite.
SMALLEST_SCALE = 1e-12


@dataclasses.dataclass(frozen=True)
class Grid:
    """The grid of an activation: one scale and zero point for the tensor.

    Attributes:
        scale: The distance of neighbours, a positive normal float32.
        zero_point: The integer that stands for 0.
        dtype: The NumPy type of its integers: uint8, int8 or int16.
    """

    scale: np.float32
    zero_point: int
    dtype: type[np.uint8] | type[np.int8] | type[np.int16]


def activation_grid(
    low: float,
    high: float,
    *,
    signed: bool = False,
    symmetric: bool = False,
    bits: Literal[8, 16] = 8,
) -> Grid:
    """The grid of an activation that lies in ``[low, high]``.

    Zero is always on the grid exactly, because padding and ReLU write it: the interval is widened
    to contain it.

    Args:
        low: The least value to represent.
        high: The largest.
        signed: int8 rather than uint8.
        symmetric: int8 with zero point 0 rather than any.
        bits: Of the integers; 16 are always about zero.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric or bits == 16:
        dtype = np.int8 if bits == 8 else np.int16
        return Grid(_scale(max(-low, high) / np.iinfo(dtype).max), 0, dtype)
    scale = _scale((high - low) / 255.0)
    zero_point = int(np.clip(np.rint(-low / float(scale)), 0, 255))
    return Grid(scale, zero_point - 128, np.int8) if signed else Grid(scale, zero_point, np.uint8)


def weight_scales(
    rows: FloatArray, headroom: Headroom | None = None, *, bits: int = 8
) -> npt.NDArray[np.float32]:
    """Symmetric scales of weights, one per row, that just hold the largest magnitude.

    Args:
        rows: [channels, inputs].
        headroom: What else they have to leave room for.
        bits: Width of the integers; the least one is not used, so that the grid is symmetric.

    Returns:
        float32 [channels]; a row of zeros gets the largest scale of the others, so that its bias
        stays representable.
    """
    limit = 2 ** (bits - 1) - 1
    largest = np.abs(rows).max(axis=1, initial=0.0).astype(np.float64)
    scales = largest / limit
    if headroom is not None:
        scales = np.maximum(scales, headroom.least_scales(rows))
    # A row of zeros, or of denormals, says nothing about its scale.
    dead = scales < SMALLEST_SCALE
    scales[dead] = scales.max(initial=0.0) if not dead.all() else 1.0 / limit
    return np.asarray(scales, np.float32)


def round_to_grid(rows: FloatArray, scales: FloatArray, *, bits: int = 8) -> npt.NDArray[np.int8]:
    """The nearest integers of weights, halves to even; [channels, inputs].

    Args:
        rows: [channels, inputs].
        scales: [channels].
        bits: Width of the integers.
    """
    limit = 2 ** (bits - 1) - 1
    scaled = rows.astype(np.float64) / scales.astype(np.float64)[:, None]
    return np.clip(np.rint(scaled), -limit, limit).astype(np.int8)


def bias_integers(bias: FloatArray, scales: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """A bias as int32 on the grid of the accumulator; both [channels]."""
    limits = np.iinfo(np.int32)
    scaled = np.rint(bias.astype(np.float64) / scales.astype(np.float64))
    integers: npt.NDArray[np.int32] = np.clip(scaled, limits.min, limits.max).astype(np.int32)
    return integers


def widen_for_bias(
    scales: npt.NDArray[np.float32], input_scale: float, bias: FloatArray
) -> npt.NDArray[np.float32]:
    """Raises the scales of channels whose bias would not fit into half of an int32 accumulator.

    Args:
        scales: Weight scales, [channels].
        input_scale: The activation's scale.
        bias: The bias, [channels].
    """
    least = np.abs(bias).astype(np.float64) / (2.0**30 * float(input_scale))
    return np.maximum(scales, least).astype(np.float32)


def _scale(wanted: float) -> np.float32:
    scale: np.float32 = np.float32(max(wanted, SMALLEST_SCALE) if wanted > 0 else 1.0)
    return scale
