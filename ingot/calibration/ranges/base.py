"""What every range method is given and returns."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ingot.calibration.histogram import BINS, Histogram
from ingot.calibration.statistics import TensorStatistics


@dataclasses.dataclass(frozen=True)
class Range:
    """The interval that a quantized tensor is to represent, in the tensor's units.

    Zero always lies within, so that padding and ReLU stay exact.

    Attributes:
        low: At most zero.
        high: At least zero.
    """

    low: float
    high: float

    @classmethod
    def around(cls, low: float, high: float, *, symmetric: bool) -> Range:
        """The smallest range of an interval: with zero, and symmetric about it if asked for."""
        low, high = min(low, 0.0), max(high, 0.0)
        if symmetric:
            high = max(-low, high)
            low = -high if high else 0.0
        return cls(low, high)


class RangeMethod(abc.ABC):
    """Chooses the range of a tensor from what was seen of it.

    Attributes:
        uses_histogram: Whether it looks at more than extremes.
    """

    uses_histogram: ClassVar[bool] = True

    @abc.abstractmethod
    def choose(self, statistics: TensorStatistics, *, symmetric: bool, bits: int) -> Range:
        """Chooses a range within that of the data and zero.

        Args:
            statistics: What was seen of the tensor.
            symmetric: Whether the range is to be ``[-a, a]`` (a zero point of 0); then it may
                reach beyond the data on one side.
            bits: Of the integers; ``2**bits`` levels, one less when symmetric.
        """


def levels(*, symmetric: bool, bits: int) -> int:
    """How many values the integers have: the symmetric grid leaves the lowest one out."""
    return int(2**bits) - int(symmetric)


def magnitudes(histogram: Histogram) -> Histogram:
    """The histogram of the absolute values, from zero on, in at most ``BINS`` bins."""
    numbers = np.arange(histogram.first, histogram.first + len(histogram.counts))
    folded = np.where(numbers < 0, -1 - numbers, numbers)  # bin -1 mirrors bin 0
    width = histogram.width
    while folded.size and folded.max() >= BINS:
        folded, width = folded >> 1, 2 * width
    counts = np.zeros(int(folded.max(initial=-1)) + 1, np.int64)
    np.add.at(counts, folded, histogram.counts)
    return Histogram(0, width, counts, histogram.zeros)


def without_zeros(histogram: Histogram) -> npt.NDArray[np.float64]:
    """The counts of all values but those that are exactly zero, which every grid represents."""
    counts = histogram.counts.astype(np.float64)
    if histogram.zeros:
        counts[-histogram.first] -= histogram.zeros
    return counts


def clipped(statistics: TensorStatistics, threshold: float, *, symmetric: bool) -> Range:
    """The range of the data, cut at a magnitude."""
    return Range.around(
        max(statistics.minimum, -threshold),
        min(statistics.maximum, threshold),
        symmetric=symmetric,
    )
