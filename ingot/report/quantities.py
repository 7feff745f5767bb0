"""What is measured of a variant, by the names under which budgets and the history have it.

A name carries its unit. Each value comes with its 95 % interval where one was measured; what is
measured once, such as the peak of memory, has none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ingot import statistics
from ingot.report.schema import Latency, MetricFigures

P99 = 0.99


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Something that is measured.

    Attributes:
        name: With its unit, such as ``latency_p50_ms``.
        unit: For a reader.
        higher_is_better: The direction.
        about: In words.
    """

    name: str
    unit: str
    higher_is_better: bool
    about: str


QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        Quantity("latency_p50_ms", "ms", False, "median latency of an inference"),
        Quantity("latency_p99_ms", "ms", False, "99th percentile of the latency"),
        Quantity("throughput_per_s", "per second", True, "examples per second, one by one"),
        Quantity("memory_mb", "MB", False, "peak resident memory of a fresh process"),
        Quantity("size_mb", "MB", False, "size of the file"),
    )
}
"""What is measured of every variant; accuracy comes by the names of metrics. MB are 10^6 bytes."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """A value and its 95 % interval.

    Attributes:
        value: What was found.
        low: Lower end; the value itself where it was measured once.
        high: Upper end; infinite where so few runs do not bound it.
    """

    value: float
    low: float
    high: float

    @property
    def has_interval(self) -> bool:
        """Whether the interval is more than the value itself."""
        return self.low < self.high


def once(value: float) -> Measured:
    """A value that was measured once."""
    return Measured(value, value, value)


def timed(latency: Latency, batch: int) -> dict[str, Measured]:
    """The quantities that come of timed inferences; p99 is left out where runs are too few.

    Args:
        latency: The times, round by round.
        batch: Examples per inference.
    """
    rounds = [np.asarray(taken) for taken in latency.rounds]
    mean = statistics.mean_over_rounds(rounds)
    per_second = 1e3 * batch
    found = {
        "latency_p50_ms": Measured(latency.median.value, latency.median.low, latency.median.high),
        "throughput_per_s": Measured(
            per_second / mean.value, per_second / mean.high, per_second / mean.low
        ),
    }
    tail = statistics.quantile_estimate(rounds, P99)
    if tail is not None:
        found["latency_p99_ms"] = Measured(tail.value, tail.low, tail.high)
    return found


def sized(size_bytes: int, peak_bytes: int | None = None) -> dict[str, Measured]:
    """The quantities that are sizes; memory is left out of what was not run."""
    found = {"size_mb": once(size_bytes / 1e6)}
    if peak_bytes is not None:
        found["memory_mb"] = once(peak_bytes / 1e6)
    return found


def find_metric(name: str | None, metrics: Sequence[MetricFigures]) -> MetricFigures:
    """The metric of a name, however it is spelled; the first one without a name."""
    if name is None:
        return metrics[0]
    return next(metric for metric in metrics if plain(metric.name) == plain(name))


def gain(metric: MetricFigures) -> Measured | None:
    """By how much a variant is better than the reference; negative where it is worse.

    None for the reference itself.
    """
    if metric.difference is None:
        return None
    value, low, high = metric.difference.value, metric.difference.low, metric.difference.high
    return Measured(value, low, high) if metric.higher_is_better else Measured(-value, -high, -low)


def plain(name: str) -> str:
    """A name without what it may be spelled with or without: ``Top-1`` is ``top1``."""
    return name.lower().replace("-", "").replace("_", "")


def finite(value: float) -> float | None:
    """A number as JSON has it: None where it is infinite."""
    return value if math.isfinite(value) else None
