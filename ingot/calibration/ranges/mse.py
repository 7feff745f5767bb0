"""The range with the least squared error: between clipping outliers and coarse steps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ingot.calibration.ranges.base import Range, RangeMethod, clipped, levels, without_zeros
from ingot.calibration.statistics import TensorStatistics

_THRESHOLDS = np.linspace(0.02, 1.0, 99)
_REFINEMENT = np.linspace(0.8, 1.25, 31)


class MeanSquaredError(RangeMethod):
    """The range that minimizes the mean squared error of quantization.

    Nagel et al., "A White Paper on Neural Network Quantization", 2021, section 3.1 (range setting
    by MSE); the trade between clipping and rounding is analyzed by Banner et al., "Post Training
    4-bit Quantization of Convolutional Networks for Rapid-Deployment", NeurIPS 2019. The error is
    evaluated on the histogram for thresholds on the magnitude, and then for each end by itself
    around the best of them. The range of all the data is among those tried.
    """

    def choose(self, statistics: TensorStatistics, *, symmetric: bool, bits: int) -> Range:
        """See :meth:`RangeMethod.choose`."""
        counts = without_zeros(statistics.histogram)
        used = counts > 0
        values, weights = statistics.histogram.centers[used], counts[used]
        count = levels(symmetric=symmetric, bits=bits)
        largest = max(-statistics.minimum, statistics.maximum, 0.0)
        best = self._best(
            (clipped(statistics, part * largest, symmetric=symmetric) for part in _THRESHOLDS),
            values, weights, count,
        )  # fmt: skip
        if symmetric:
            around = (clipped(statistics, part * best.high, symmetric=True) for part in _REFINEMENT)
            return self._best((best, *around), values, weights, count)
        for _ in range(2):
            for end in ("low", "high"):
                candidates = (_moved(statistics, best, end, part) for part in _REFINEMENT)
                best = self._best((best, *candidates), values, weights, count)
        return best

    def _best(
        self,
        candidates: Iterable[Range],
        values: npt.NDArray[np.float64],
        weights: npt.NDArray[np.float64],
        count: int,
    ) -> Range:
        """The candidate of the least error; the widest among equals."""
        return min(
            candidates,
            key=lambda range_: (
                squared_error(range_, values, weights, count),
                range_.low - range_.high,
            ),
        )


def squared_error(
    range_: Range,
    values: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    count: int,
) -> float:
    """The sum of the squared errors when values are quantized to a range.

    Args:
        range_: The range; its grid is moved, as usual, so that zero is exact.
        values: The values, float64 [values].
        weights: How often each occurs, float64 [values].
        count: Levels of the grid.
    """
    step = (range_.high - range_.low) / (count - 1)
    if step <= 0.0:
        return float(weights @ values**2)
    lowest = np.rint(range_.low / step)
    integers = np.clip(np.rint(values / step), lowest, lowest + count - 1)
    return float(weights @ (values - integers * step) ** 2)


def _moved(statistics: TensorStatistics, range_: Range, end: str, part: float) -> Range:
    """The range with one end moved, within the data."""
    if end == "low":
        return Range(max(min(statistics.minimum, 0.0), part * range_.low), range_.high)
    return Range(range_.low, min(max(statistics.maximum, 0.0), part * range_.high))
