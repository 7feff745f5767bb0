"""A histogram of values that come in pieces, whose range nobody knows beforehand.

Bins are ``2**k`` wide and begin at multiples of their width, so zero is always an edge. When a
value falls outside of what the bins can hold, neighbours are merged in pairs until they can. The
outcome is therefore exact and does not depend on the order or the pieces in which values came,
other than with a fixed range or with bins that are interpolated into others (as PyTorch's
``HistogramObserver`` does).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 4096
"""The most bins of a histogram; values that differ at all span more than half of them."""

Values = npt.NDArray[Any]

# A bin is no narrower than this part of the largest magnitude (a float32's last bit): bins of
# equal values would else shrink to nothing.
_FINEST = -24
_SMALLEST = -140


@dataclasses.dataclass(frozen=True)
class Histogram:
    """How often values fell into bins of equal width.

    Bin ``i`` holds the values from ``(first + i) * width`` up to, but not including, the next
    bin's beginning; zero is an edge or lies outside.

    Attributes:
        first: The number of the lowest bin; bin number 0 begins at zero.
        width: Width of a bin, a power of two, in the tensor's units.
        counts: int64 [bins]; the lowest and the highest are not zero.
        zeros: How many values are exactly zero; they are counted in bin number 0 too.
    """

    first: int
    width: float
    counts: npt.NDArray[np.int64]
    zeros: int

    @property
    def total(self) -> int:
        """The number of values."""
        return int(self.counts.sum())

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Where the bins begin, and the end of the last, ascending float64 [bins + 1]."""
        numbers = np.arange(self.first, self.first + len(self.counts) + 1, dtype=np.float64)
        return numbers * self.width

    @property
    def centers(self) -> npt.NDArray[np.float64]:
        """The middle of each bin, float64 [bins]."""
        numbers = np.arange(self.first, self.first + len(self.counts), dtype=np.float64)
        return (numbers + 0.5) * self.width


class HistogramBuilder:
    """Counts values; memory stays within ``BINS`` counters however many come.

    Args:
        bins: The most bins.
    """

    def __init__(self, bins: int = BINS) -> None:
        self._bins = bins
        self._exponent = _SMALLEST
        self._first = 0
        self._counts = np.zeros(0, np.int64)
        self._zeros = 0

    def add(self, values: Values, lowest: float, highest: float) -> None:
        """Counts values.

        Args:
            values: Finite numbers of any shape; at least one.
            lowest: The smallest of them.
            highest: The largest of them.
        """
        self._make_room(lowest, highest)
        wide = np.float32 if values.dtype in (np.float32, np.float16) else np.float64
        flat: npt.NDArray[Any] = np.ravel(values).astype(wide, copy=False)
        scaled = _scaled(flat, -self._exponent)
        np.floor(scaled, out=scaled)
        if lowest < 0:
            scaled[(scaled == 0) & (flat < 0)] = -1  # scaling made a tiny negative value zero
        scaled -= wide(self._first)
        found = np.bincount(scaled.astype(np.intp), minlength=len(self._counts))
        self._counts += found
        self._zeros += values.size - int(np.count_nonzero(values))

    def finish(self) -> Histogram:
        """The histogram of all values so far, without empty bins at its ends."""
        used = np.flatnonzero(self._counts)
        begin, end = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        return Histogram(
            self._first + begin,
            math.ldexp(1.0, self._exponent),
            self._counts[begin:end].copy(),
            self._zeros,
        )

    def _make_room(self, lowest: float, highest: float) -> None:
        """Widens the bins and extends their range until both values have a bin."""
        exponent = max(self._exponent, _finest_exponent(max(abs(lowest), abs(highest))))
        first, last = _bin(lowest, exponent), _bin(highest, exponent)
        if len(self._counts):
            shift = exponent - self._exponent
            first = min(first, self._first >> shift)
            last = max(last, (self._first + len(self._counts) - 1) >> shift)
        while last - first >= self._bins:
            exponent, first, last = exponent + 1, first >> 1, last >> 1
        if (exponent, first, last + 1 - first) == (self._exponent, self._first, len(self._counts)):
            return
        merged = np.zeros(last + 1 - first, np.int64)
        if len(self._counts):
            numbers = np.arange(self._first, self._first + len(self._counts))
            shift = min(exponent - self._exponent, 62)
            np.add.at(merged, (numbers >> shift) - first, self._counts)
        self._exponent, self._first, self._counts = exponent, first, merged


def _scaled(values: Values, exponent: int) -> Values:
    """``values * 2**exponent`` as a new array; a power of two rounds nothing."""
    if -126 <= exponent <= 127:
        return np.asarray(values * values.dtype.type(math.ldexp(1.0, exponent)))
    return np.asarray(np.ldexp(values, exponent))


def _bin(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))


def _finest_exponent(magnitude: float) -> int:
    return max(_SMALLEST, math.frexp(magnitude)[1] + _FINEST) if magnitude else _SMALLEST
