"""Is a run beyond what runs differ by anyway? A robust test whose false alarms are counted.

The statistic is how far the median of the new runs lies above the Hodges-Lehmann estimate of the
earlier ones (the median of the means of all pairs: Hodges and Lehmann, "Estimates of location based
on rank tests", Annals of Mathematical Statistics 34, 1963), in units of their spread Qn (the lower
quartile of all distances: Rousseeuw and Croux, "Alternatives to the median absolute deviation",
JASA 88, 1993). One run that was disturbed moves neither much, where it would hide a change from a
test of means and standard deviations for as long as it is among the earlier ones.

How large the statistic becomes by chance is drawn: from runs that differ by noise of Student's t
distribution with four degrees of freedom, since times have heavier tails than the normal
distribution (Maricq and others, "Taming performance variability", OSDI 2018). For normal noise the
rate of false alarms is therefore below the stated one.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.float64]

FEWEST_RUNS = 6
"""The fewest earlier runs from which a spread can be told."""

_DEGREES_OF_FREEDOM = 4
_SEED = 20261130
# So many of the draws lie beyond the bound, where the number of draws allows it.
_BEYOND = 200
_FEWEST_DRAWS, _MOST_DRAWS = 20_000, 400_000
# Entries of a matrix of pairs that are held at once.
_CHUNK = 4_000_000
# Makes Qn the standard deviation where noise is normal.
_QN_NORMAL = 2.2219


def location(samples: Samples) -> Samples:
    """The Hodges-Lehmann estimate of each row of samples [rows, runs]; float64 [rows]."""
    first, second = np.triu_indices(samples.shape[1])
    means: Samples = (samples[:, first] + samples[:, second]) / 2.0
    return np.asarray(np.median(means, axis=1), np.float64)


def spread(samples: Samples) -> Samples:
    """The scale Qn of each row of samples [rows, runs], two or more; float64 [rows]."""
    runs = samples.shape[1]
    first, second = np.triu_indices(runs, 1)
    half = runs // 2 + 1
    rank = half * (half - 1) // 2 - 1
    distances = np.abs(samples[:, first] - samples[:, second])
    return np.asarray(_QN_NORMAL * np.partition(distances, rank, axis=1)[:, rank], np.float64)


@functools.lru_cache(maxsize=256)
def bound(earlier: int, new: int, false_alarms: float) -> float:
    """What the statistic exceeds by chance in so many of the cases.

    Args:
        earlier: Number of earlier runs, ``FEWEST_RUNS`` or more.
        new: Number of new runs.
        false_alarms: The share of cases, between 0 and 1. Below 1 in 400,000 the largest of as many
            draws is the bound.
    """
    draws = int(np.clip(_BEYOND / false_alarms, _FEWEST_DRAWS, _MOST_DRAWS))
    generator = np.random.default_rng(_SEED)
    statistics = np.empty(draws)
    step = max(1, _CHUNK // (earlier * (earlier + 1) // 2))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        noise = generator.standard_t(_DEGREES_OF_FREEDOM, (rows, earlier + new))
        before, after = noise[:, :earlier], noise[:, earlier:]
        far = np.median(after, axis=1) - location(before)
        statistics[start : start + rows] = far / spread(before)
    return float(np.quantile(statistics, 1.0 - false_alarms, method="higher"))
