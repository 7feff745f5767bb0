"""Figures from samples, each with what it can and cannot say.

Intervals are percentile bootstrap intervals (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 13) at 95 %, from a seeded generator, so that a report made twice from the
same samples says the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.stats

Array: TypeAlias = npt.NDArray[Any]
Samples: TypeAlias = npt.NDArray[np.float64]

CONFIDENCE = 0.95
FEWEST_UNPAIRED = 50
"""Samples of a side below which :func:`difference_of_medians` has no interval to rely on."""
_RESAMPLES = 2000
_SEED = 20260229
# Entries of a resampling matrix that are held at once.
_CHUNK = 4_000_000
# Neighbours in time that are resampled as one, where samples come in no rounds; and the quantiles
# of the samples that stand for all of them when there are more.
_BLOCKS = 20
_FEWEST_BLOCKS = 10
_IN_BLOCK = 10
_POINTS = 1000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure and the 95 % interval of it."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Discordance:
    """How two variants disagree on the same examples.

    Attributes:
        only_reference: Examples that the reference got right and the variant did not.
        only_variant: The other way round.
        p_value: Of the exact McNemar test that both are as likely.
    """

    only_reference: int
    only_variant: int
    p_value: float


def quantile(samples: Array, q: float) -> float | None:
    """A quantile, or None when there are too few samples to show it.

    A quantile above the median is given only when at least one sample in expectation lies beyond
    it: p95 takes 20 samples, p99 takes 100.

    Args:
        samples: Any number of values.
        q: Between 0 and 1.
    """
    values = np.asarray(samples, dtype=np.float64).ravel()
    if values.size == 0 or (q > 0.5 and values.size < runs_needed(q)):
        return None
    return float(np.quantile(values, q))


def runs_needed(q: float) -> int:
    """The least number of samples from which the quantile ``q`` may be read."""
    return round(1.0 / (1.0 - q))


def ratio_of_medians(
    numerator: Sequence[Array], denominator: Sequence[Array], *, resamples: int = _RESAMPLES
) -> Estimate:
    """The ratio of two medians, from rounds in which both were measured in turn.

    Rounds are resampled as wholes and together for both sides, since what disturbs a machine lasts
    longer than a run and hits neighbours alike.

    Args:
        numerator: Samples round by round; equally many in each round.
        denominator: The same rounds of the other side.
        resamples: How many times to resample.

    Raises:
        ValueError: The sides differ in their rounds, or there are none.
    """
    if len(numerator) != len(denominator) or not numerator:
        raise ValueError(f"{len(numerator)} and {len(denominator)} rounds cannot be paired")
    first, second = _stack(numerator), _stack(denominator)
    rounds = len(first)
    draws = np.random.default_rng(_SEED).integers(0, rounds, (resamples, rounds))
    ratios = _row_medians(first, draws) / _row_medians(second, draws)
    return _estimate(float(np.median(first) / np.median(second)), ratios)


def median_estimate(rounds: Sequence[Array], *, resamples: int = _RESAMPLES) -> Estimate:
    """The median over all rounds with its interval; rounds are resampled as wholes."""
    samples = _stack(rounds)
    draws = np.random.default_rng(_SEED).integers(0, len(samples), (resamples, len(samples)))
    return _estimate(float(np.median(samples)), _row_medians(samples, draws))


def mean_over_rounds(rounds: Sequence[Array], *, resamples: int = _RESAMPLES) -> Estimate:
    """The mean over all rounds with its interval; rounds are resampled as wholes."""
    samples = _stack(rounds)
    draws = np.random.default_rng(_SEED).integers(0, len(samples), (resamples, len(samples)))
    return _estimate(float(np.mean(samples)), samples.mean(axis=1)[draws].mean(axis=1))


def quantile_estimate(
    rounds: Sequence[Array], q: float, *, resamples: int = _RESAMPLES
) -> Estimate | None:
    """A quantile over all rounds with its interval, or None from too few samples.

    The wider, on either side, of two intervals: that of resampled rounds, and the one between two
    order statistics that holds whatever the distribution is (David and Nagaraja, *Order
    Statistics*, 3rd edition, 2003, section 7.1). Resampling alone knows no sample beyond the
    largest. Where the largest bounds the quantile at 95 % no more (p99 of fewer than 368 samples),
    the upper end is infinite.
    """
    samples = _stack(rounds)
    value = quantile(samples, q)
    if value is None:
        return None
    draws = np.random.default_rng(_SEED).integers(0, len(samples), (resamples, len(samples)))
    drawn = _by_row(samples, draws, lambda rows: np.quantile(rows, q, axis=1))
    resampled = _estimate(value, drawn)
    ordered, tail = np.sort(samples, axis=None), (1.0 - CONFIDENCE) / 2.0
    first = int(scipy.stats.binom.ppf(tail, ordered.size, q))
    last = int(scipy.stats.binom.ppf(1.0 - tail, ordered.size, q)) + 1
    low = float(ordered[first - 1]) if first > 0 else -np.inf
    high = float(ordered[last - 1]) if last <= ordered.size else np.inf
    return Estimate(value, min(low, resampled.low), max(high, resampled.high))


def difference_of_medians(
    samples: Array, reference: Array, *, confidence: float = CONFIDENCE
) -> Estimate:
    """The difference of the medians of two series that were not measured in turn.

    Each series is cut into ten to twenty blocks of neighbours in time, which are resampled as
    wholes, since what disturbs a machine lasts longer than one sample. Few blocks give percentile
    intervals that are too narrow; the tails are therefore widened as for Student's t (Hesterberg,
    "What Teachers Should Know About the Bootstrap", The American Statistician, 2015, section 5.3).

    Args:
        samples: In the order in which they were taken; fifty or more.
        reference: The same of the other side.
        confidence: Of the interval.

    Raises:
        ValueError: A side has fewer than fifty samples.
    """
    first, second = (np.asarray(side, dtype=np.float64).ravel() for side in (samples, reference))
    fewest = min(first.size, second.size)
    if fewest < FEWEST_UNPAIRED:
        raise ValueError(f"an interval takes {FEWEST_UNPAIRED} samples of each side at least")
    blocks = _blocks(fewest)
    widened = scipy.stats.t.ppf((1.0 + confidence) / 2.0, blocks - 1) * np.sqrt(
        blocks / (blocks - 1)
    )
    tail = float(scipy.stats.norm.sf(widened))
    # Enough that some lie in the tails, as far as that is possible.
    resamples = int(np.clip(10.0 / max(tail, 1e-9), _RESAMPLES, 5 * _RESAMPLES))
    rng = np.random.default_rng(_SEED)
    drawn = _block_medians(first, rng, resamples) - _block_medians(second, rng, resamples)
    return _estimate(float(np.median(first) - np.median(second)), drawn, tail)


def mean_estimate(scores: Array, *, resamples: int = _RESAMPLES) -> Estimate:
    """The mean of scores [examples] with its interval over the choice of examples."""
    values, counts = np.unique(np.asarray(scores, dtype=np.float64), return_counts=True)
    total = int(counts.sum())
    rng = np.random.default_rng(_SEED)
    means = np.empty(resamples)
    step = max(1, _CHUNK // len(values))
    for start in range(0, resamples, step):
        # How often each distinct score is drawn is multinomial: the same as drawing the examples.
        drawn = rng.multinomial(total, counts / total, min(step, resamples - start))
        means[start : start + step] = drawn @ values / total
    return _estimate(float(np.mean(scores)), means)


def paired_difference(
    scores: Array, reference_scores: Array, *, resamples: int = _RESAMPLES
) -> Estimate:
    """The mean of the differences score - reference on the same examples."""
    return mean_estimate(np.asarray(scores) - np.asarray(reference_scores), resamples=resamples)


def paired_aggregate_difference(
    aggregate: Callable[[Array, Array], float],
    predictions: Array,
    reference_predictions: Array,
    labels: Array,
    *,
    resamples: int = _RESAMPLES // 2,
) -> Estimate:
    """The difference of a metric that is no mean; the same examples are drawn for both sides."""
    rng = np.random.default_rng(_SEED)
    count = len(labels)

    def difference(chosen: Any) -> float:
        return aggregate(predictions[chosen], labels[chosen]) - aggregate(
            reference_predictions[chosen], labels[chosen]
        )

    if np.array_equal(predictions, reference_predictions):
        return Estimate(0.0, 0.0, 0.0)
    drawn = np.array([difference(rng.integers(0, count, count)) for _ in range(resamples)])
    return _estimate(difference(slice(None)), drawn)


def aggregate_estimate(
    aggregate: Callable[[Array, Array], float],
    predictions: Array,
    labels: Array,
    *,
    resamples: int = _RESAMPLES // 2,
) -> Estimate:
    """The value of a metric that is no mean, with its interval over the choice of examples."""
    rng = np.random.default_rng(_SEED)
    count = len(labels)
    chosen = (rng.integers(0, count, count) for _ in range(resamples))
    drawn = np.array([aggregate(predictions[rows], labels[rows]) for rows in chosen])
    return _estimate(aggregate(predictions, labels), drawn)


def discordance(right: Array, reference_right: Array) -> Discordance:
    """Counts where two variants disagree, with McNemar's exact test.

    McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika, 1947; exact, by the binomial distribution.

    Args:
        right: Whether the variant is right, boolean [examples].
        reference_right: Whether the reference is, on the same examples.
    """
    right, reference_right = np.asarray(right, bool), np.asarray(reference_right, bool)
    lost = int((reference_right & ~right).sum())
    won = int((right & ~reference_right).sum())
    p_value = 1.0
    if lost + won:
        p_value = float(scipy.stats.binomtest(lost, lost + won, 0.5).pvalue)
    return Discordance(lost, won, p_value)


def _estimate(value: float, drawn: Samples, tail: float = (1.0 - CONFIDENCE) / 2.0) -> Estimate:
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    # The value itself always lies within, also where resampling a handful misses it.
    return Estimate(value, min(float(low), value), max(float(high), value))


def _stack(rounds: Sequence[Array]) -> Samples:
    if len({np.size(samples) for samples in rounds}) != 1 or not np.size(rounds[0]):
        raise ValueError("every round needs the same number of samples, at least one")
    return np.array([np.ravel(samples) for samples in rounds], dtype=np.float64)


def _row_medians(samples: Samples, draws: Array) -> Samples:
    """Medians over the rounds that each row of ``draws`` [resamples, rounds] names."""
    return _by_row(samples, draws, lambda rows: np.median(rows, axis=1))


def _by_row(samples: Samples, draws: Array, figure: Callable[[Samples], Samples]) -> Samples:
    """A figure of the rounds that each row of ``draws`` [resamples, rounds] names."""
    figures = np.empty(len(draws))
    step = max(1, _CHUNK // samples.size)
    for start in range(0, len(draws), step):
        drawn = samples[draws[start : start + step]]
        figures[start : start + step] = figure(drawn.reshape(len(drawn), -1))
    return figures


def _blocks(count: int) -> int:
    return int(np.clip(count // _IN_BLOCK, _FEWEST_BLOCKS, _BLOCKS))


def _block_medians(samples: Samples, rng: np.random.Generator, resamples: int) -> Samples:
    """Medians of blocks of neighbours drawn with replacement."""
    blocks = _blocks(samples.size)
    places = np.sort(samples)
    if places.size > _POINTS:
        places = places[np.linspace(0, places.size - 1, _POINTS).round().astype(int)]
    # Of each block, how many samples are no larger than each place: sums of these rows are the
    # distribution of what is drawn.
    below = np.array(
        [
            np.searchsorted(np.sort(block), places, side="right")
            for block in np.array_split(samples, blocks)
        ]
    )
    medians = np.empty(resamples)
    step = max(1, _CHUNK // places.size)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.multinomial(blocks, np.full(blocks, 1.0 / blocks), count) @ below
        half = drawn[:, -1:] / 2.0
        lower, upper = (drawn >= half).argmax(axis=1), (drawn > half).argmax(axis=1)
        medians[start : start + count] = (places[lower] + places[upper]) / 2.0
    return medians
