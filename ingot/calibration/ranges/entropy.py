"""The range under which the distribution of the integers says most of that of the values."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ingot.calibration.histogram import Histogram
from ingot.calibration.ranges.base import Range, RangeMethod, clipped, magnitudes, without_zeros
from ingot.calibration.statistics import TensorStatistics

# Thresholds that are tried between that of one bin per level and all of the data.
_CANDIDATES = 256
# In place of a probability of zero, whose divergence is infinite.
_FLOOR = 1e-9

Counts = npt.NDArray[np.float64]


class Entropy(RangeMethod):
    """The clipping threshold with the least Kullback-Leibler divergence.

    Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017, pages 26 to 38: the
    histogram of magnitudes is cut at a threshold, what lies beyond is counted to the last bin, and
    the cut histogram is compared with its quantization to 128 levels, spread over the bins that
    were not empty. Here an asymmetric range is searched as well, as the data's own range cut at
    plus and minus the threshold, with all of its levels; and values that are exactly zero are left
    out, since no range represents them any worse.
    """

    def choose(self, statistics: TensorStatistics, *, symmetric: bool, bits: int) -> Range:
        """See :meth:`RangeMethod.choose`."""
        histogram = (
            magnitudes(statistics.histogram) if symmetric else _bounded(statistics.histogram)
        )
        count = 2 ** (bits - 1) if symmetric else 2**bits
        counts = without_zeros(histogram)
        begin, end = min(histogram.first, 0), max(histogram.first + len(counts), 0)
        if counts.sum() == 0:
            return Range.around(statistics.minimum, statistics.maximum, symmetric=symmetric)
        padded = np.zeros(end - begin)
        padded[histogram.first - begin : histogram.first - begin + len(counts)] = counts
        largest = max(end, -begin)
        best, least = largest, math.inf
        for cut in _cuts(begin, end, count):
            low, high = max(begin, -cut) - begin, min(end, cut) - begin
            found = _divergence(padded, low, high, count)
            if found <= least:
                best, least = cut, found
        return clipped(statistics, best * histogram.width, symmetric=symmetric)


def _cuts(begin: int, end: int, count: int) -> list[int]:
    """Magnitudes in bins at which to cut ``[begin, end)``, each leaving ``count`` bins at least."""
    largest = max(end, -begin)
    smallest = next(
        (cut for cut in range(1, largest) if min(end, cut) - max(begin, -cut) >= count), largest
    )
    return sorted({round(cut) for cut in np.linspace(smallest, largest, _CANDIDATES)})


def _divergence(counts: Counts, low: int, high: int, count: int) -> float:
    """Kullback-Leibler divergence of ``counts[low:high]`` from its ``count`` levels."""
    kept = counts[low:high]
    reference = kept.copy()
    reference[0] += counts[:low].sum()
    reference[-1] += counts[high:].sum()
    count = min(count, len(kept))
    starts = np.arange(count) * len(kept) // count
    used = (reference > 0).astype(np.float64)
    sums = np.add.reduceat(kept, starts)
    bins = np.add.reduceat(used, starts)
    level = np.divide(sums, bins, out=np.zeros(count), where=bins > 0)
    spread = np.repeat(level, np.diff(np.append(starts, len(kept)))) * used
    total = spread.sum()
    if total == 0:
        return math.inf
    seen = used > 0
    p = reference[seen] / reference.sum()
    q = np.maximum(spread[seen] / total, _FLOOR)
    return float(np.sum(p * np.log(p / q)))


def _bounded(histogram: Histogram) -> Histogram:
    """The histogram with bins so wide that those up to zero are not too many."""
    folded = magnitudes(histogram)
    shift = round(math.log2(folded.width / histogram.width))
    first = histogram.first >> shift
    numbers = (np.arange(histogram.first, histogram.first + len(histogram.counts)) >> shift) - first
    counts = np.zeros(int(numbers[-1]) + 1 if len(numbers) else 0, np.int64)
    np.add.at(counts, numbers, histogram.counts)
    return Histogram(first, folded.width, counts, histogram.zeros)
