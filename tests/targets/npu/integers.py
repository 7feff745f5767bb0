"""What the NPU's rules promise, in integers of NumPy and fractions of Python: an independent model.

Nothing here is of the package: layouts are ONNX's, scales are exact fractions of their float32
values, and the one rounding is RESCALE's as the TOSA 1.0 specification has it,
``(value * multiplier + (1 << (shift - 1))) >> shift``, with the multiplier the nearest of 32 bits
(16 where the value has 48). So a result is not near the NPU's, it is the NPU's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Grid:
    """``(integer - zero_point) * scale``; the scale is rounded to float32, as a graph holds it."""

    scale: float
    zero_point: int = 0
    dtype: str = "int8"

    @property
    def step(self) -> Fraction:
        return Fraction(float(np.float32(self.scale)))

    def units(self, x: Array) -> Array:
        """Integers about zero, wide enough for sums."""
        return x.astype(np.int64) - self.zero_point

    def saturated(self, x: Array) -> Array:
        """The integers of units."""
        limits = np.iinfo(self.dtype)
        return np.clip(x + self.zero_point, limits.min, limits.max).astype(self.dtype)

    def quantized(self, real: float) -> int:
        """QuantizeLinear: float32, ties to even."""
        units = np.rint(np.float32(real) / np.float32(self.scale))
        return int(self.saturated(np.array(units, np.int64)))


def fixed_point(factor: Fraction, bits: int = 32) -> tuple[int, int]:
    """The multiplier of that many bits and the largest shift that come nearest to a factor."""
    for shift in range(62, 1, -1):
        multiplier = round(factor * 2**shift)
        if multiplier < 1 << (bits - 1):
            return multiplier, shift
    raise ValueError(f"{factor} is too large")


def rescaled(units: Array, factors: Fraction | Sequence[Fraction], bits: int = 32) -> Array:
    """Integers times a factor, or one for each channel (axis 1 of images, else the last)."""
    listed = [factors] if isinstance(factors, Fraction) else factors
    pairs = [fixed_point(factor, bits) for factor in listed]
    multipliers, shifts = (per_channel([pair[i] for pair in pairs], units.ndim) for i in (0, 1))
    return (units * multipliers + (1 << (shifts - 1))) >> shifts


def per_channel(values: Sequence[int], rank: int) -> Array:
    return np.array(values, np.int64).reshape((-1, 1, 1) if rank == 4 else (-1,))


def finished(sums: Array, factors: Any, grid: Grid, bounds: tuple[float, float]) -> Array:
    """Sums on the output's grid, rounded once; bounds commute with that rounding."""
    wide = grid.dtype == "int16"
    result = grid.saturated(rescaled(sums, factors, 16 if wide else 32))
    return clamped(result, grid, bounds)


def clamped(x: Array, grid: Grid, bounds: tuple[float, float]) -> Array:
    """Real bounds as integers of the grid."""
    limits = np.iinfo(grid.dtype)
    low = limits.min if bounds[0] == -np.inf else grid.quantized(bounds[0])
    high = limits.max if bounds[1] == np.inf else grid.quantized(bounds[1])
    return np.clip(x, low, high).astype(grid.dtype)


def regridded(x: Array, before: Grid, after: Grid) -> Array:
    """A change of grid; none where they are the same."""
    if before == after:
        return x
    return after.saturated(rescaled(before.units(x), before.step / after.step))


@dataclasses.dataclass(frozen=True)
class Weights:
    """int8 with a scale for each output channel, which is the first axis; biases are real."""

    integers: Array
    scales: Array
    bias: Array

    def factors(self, source: Grid) -> list[Fraction]:
        """What the accumulators are in units of."""
        return [source.step * Fraction(float(scale)) for scale in self.scales]

    def start(self, source: Grid) -> list[int]:
        """The biases on the accumulators' grids."""
        pairs = zip(self.bias, self.factors(source), strict=True)
        return [round(Fraction(float(bias)) / unit) for bias, unit in pairs]


def window_sums(
    x: Array,
    weights: Array,
    *,
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
) -> Array:
    """Cross-correlation of units [N, C, H, W] with [O, C / group, KH, KW]; pads as in ONNX."""
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    out = [
        (padded.shape[2 + i] - (weights.shape[2 + i] - 1) * dilations[i] - 1) // strides[i] + 1
        for i in (0, 1)
    ]
    parts = padded.reshape(len(x), group, -1, *padded.shape[2:])
    filters = weights.astype(np.int64).reshape(group, -1, *weights.shape[1:])
    sums = np.zeros((len(x), group, filters.shape[1], *out), np.int64)
    for ky, kx in np.ndindex(*weights.shape[2:]):
        rows, columns = (
            slice(place * dilations[i], None, strides[i]) for i, place in enumerate((ky, kx))
        )
        reached = parts[..., rows, columns][..., : out[0], : out[1]]
        sums += np.einsum("ngchw,goc->ngohw", reached, filters[..., ky, kx])
    return sums.reshape(len(x), -1, *out)


def add_or_subtract(
    operator: Callable[[Array, Array], Array],
    operands: tuple[Array, Array],
    grids: tuple[Grid, Grid],
    after: Grid,
) -> Array:
    """One grid: exact, rounded once. Two: each in parts of twice the larger step, then rounded.

    There are 20 bits of parts for int8 and 15 for int16.
    """
    units = [grid.units(x) for grid, x in zip(grids, operands, strict=True)]
    if grids[0].step == grids[1].step:
        return after.saturated(rescaled(operator(*units), grids[0].step / after.step))
    parts = 2 ** {"int8": 20, "int16": 15}[after.dtype]
    largest = 2 * max(grid.step for grid in grids)
    wide = [
        rescaled(unit, parts * grid.step / largest) for unit, grid in zip(units, grids, strict=True)
    ]
    return after.saturated(rescaled(operator(*wide), largest / parts / after.step))


def product(operands: tuple[Array, Array], grids: tuple[Grid, Grid], after: Grid) -> Array:
    """The product of units is exact; it is rounded once."""
    units = [grid.units(x) for grid, x in zip(grids, operands, strict=True)]
    factor = grids[0].step * grids[1].step / after.step
    return after.saturated(rescaled(units[0] * units[1], factor))


def largest(x: Array, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> Array:
    """The largest integer of each window; padding never wins."""
    top, left, bottom, right = pads
    least = np.iinfo(x.dtype).min
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=least)
    views = np.lib.stride_tricks.sliding_window_view(padded, tuple(kernel), (2, 3))
    return views[:, :, :: strides[0], :: strides[1]].max((-2, -1))


def position(mode: str, out: int, size: int, count: int) -> Fraction:
    """Where output ``out`` of ``count`` lies among ``size`` inputs: ONNX's Resize by sizes."""
    ratio = Fraction(size, count)
    if mode == "align_corners":
        return Fraction(out * (size - 1), count - 1) if count > 1 else Fraction(0)
    if mode == "asymmetric" or (mode == "pytorch_half_pixel" and count == 1):
        return out * ratio
    return (out + Fraction(1, 2)) * ratio - Fraction(1, 2)


def nearest(where: Fraction, rounding: str) -> int:
    """ONNX's ``nearest_mode``."""
    half = Fraction(1, 2)
    if rounding == "round_prefer_floor":
        return int(-((half - where) // 1))
    if rounding == "round_prefer_ceil":
        return int((where + half) // 1)
    return int(where // 1) if rounding == "floor" else int(-(-where // 1))


def taken(x: Array, axis: int, count: int, mode: str, rounding: str) -> Array:
    """One axis resized by its nearest inputs."""
    size = x.shape[axis]
    places = [nearest(position(mode, out, size, count), rounding) for out in range(count)]
    return np.take(x, np.clip(places, 0, size - 1), axis)


def interpolated(x: Array, axis: int, count: int, mode: str) -> tuple[Array, int]:
    """One axis resized linearly, exactly, and the unit's denominator that makes it integers."""
    size = x.shape[axis]
    places = [position(mode, out, size, count) for out in range(count)]
    step = places[1] - places[0] if count > 1 else Fraction(1)
    unit = int(np.lcm(step.denominator, places[0].denominator))
    parts = []
    for place in places:
        below = int(place // 1)
        weight = int((place - below) * unit)
        low, high = (np.take(x, min(max(i, 0), size - 1), axis) for i in (below, below + 1))
        parts.append(low * (unit - weight) + high * weight)
    return np.stack(parts, axis), unit
