"""Metrics of the application's own, beside the session's figures."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
import re
import threading
from collections.abc import Sequence
from typing import Literal, TypeAlias, TypeVar

from ingot.errors import UsageError

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

DEFAULT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Each set of label values is a series of its own, for as long as the session lives.
MOST_SERIES = 1000

_OWN_PREFIX = "ingot_"
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
# Of the session's name, of a histogram's buckets, and of quantiles.
_RESERVED_LABELS = ("model", "le", "quantile")
_SUFFIXES: dict[Kind, tuple[str, ...]] = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
}


@dataclasses.dataclass(frozen=True)
class Sample:
    """A value of a metric.

    Attributes:
        suffix: What its name has after the family's, such as ``_total``.
        labels: Names and values, in order.
        value: The value.
    """

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclasses.dataclass(frozen=True)
class Family:
    """A metric with its values for each set of labels.

    Attributes:
        name: Without the suffixes of its samples.
        kind: What it counts like.
        help: What it says, in one line.
        samples: Its values.
        unit: The last part of the name where that is a unit, such as ``seconds``; else empty.
    """

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]
    unit: str = ""


class Metric:
    """What counters, gauges and histograms share: a name, and a series for each set of labels."""

    kind: Kind

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        """Takes a name, what it says in one line, and the names of its labels.

        Raises:
            UsageError: A name is none that Prometheus takes.
        """
        if self.kind == "counter":
            name = name.removesuffix("_total")
        if not _NAME.fullmatch(name) or name.startswith(_OWN_PREFIX):
            raise UsageError(
                f"{name!r} cannot be a metric's name: it has letters, digits, _ and :, begins with "
                f"no digit, and {_OWN_PREFIX} is for the session's own"
            )
        for label in labels:
            if not _LABEL.fullmatch(label) or label in _RESERVED_LABELS:
                raise UsageError(
                    f"{label!r} cannot be a label's name of metric {name}: it has letters, digits "
                    f"and _, and is none of {', '.join(_RESERVED_LABELS)}"
                )
        if len(set(labels)) != len(labels):
            raise UsageError(f"metric {name} has the same label twice")
        self.name, self.help, self.labels = name, help, tuple(labels)
        self.begin_anew()

    @property
    def sample_names(self) -> set[str]:
        """Every name that a sample of it can have."""
        return {self.name + suffix for suffix in _SUFFIXES[self.kind]}

    def collect(self) -> Family:
        """Its values now."""
        raise NotImplementedError

    def begin_anew(self) -> None:
        """Forgets its values; for a forked child, in which nobody else can be changing them."""
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        raise NotImplementedError

    def _key(self, given: dict[str, object]) -> tuple[str, ...]:
        """The values of the labels, in order.

        Raises:
            UsageError: They are not the metric's labels.
        """
        if given.keys() != set(self.labels):
            wanted = ", ".join(self.labels) or "none"
            raise UsageError(
                f"metric {self.name} takes the labels {wanted}; given: {', '.join(given) or 'none'}"
            )
        return tuple(str(given[label]) for label in self.labels)

    def _require_room(self, series: int) -> None:
        if series >= MOST_SERIES:
            raise UsageError(
                f"metric {self.name} has {MOST_SERIES} sets of labels and takes no more: what "
                "differs from request to request, such as an id, cannot be a label"
            )

    def _named(self, key: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        return tuple(zip(self.labels, key, strict=True))


class _Values(Metric):
    def _clear(self) -> None:
        self._values: dict[tuple[str, ...], float] = {} if self.labels else {(): 0.0}

    def _change(self, labels: dict[str, object], amount: float, *, absolute: bool = False) -> None:
        key = self._key(labels)
        with self._lock:
            if key not in self._values:
                self._require_room(len(self._values))
            self._values[key] = amount if absolute else self._values.get(key, 0.0) + amount

    def collect(self) -> Family:
        """Its values now."""
        suffix = "_total" if self.kind == "counter" else ""
        with self._lock:
            values = list(self._values.items())
        samples = tuple(Sample(suffix, self._named(key), value) for key, value in values)
        return Family(self.name, self.kind, self.help, samples)


class Counter(_Values):
    """A number that only grows, such as requests."""

    kind: Kind = "counter"

    def add(self, amount: float = 1.0, /, **labels: object) -> None:
        """Adds to the value of a set of labels.

        Raises:
            UsageError: The amount is negative or no number, or the labels are not the metric's.
        """
        if not 0.0 <= amount < math.inf:
            raise UsageError(f"counter {self.name} cannot grow by {amount:g}: use a gauge")
        self._change(labels, float(amount))


class Gauge(_Values):
    """A number that goes up and down, such as the length of a queue."""

    kind: Kind = "gauge"

    def set(self, value: float, /, **labels: object) -> None:
        """Sets the value of a set of labels.

        Raises:
            UsageError: The labels are not the metric's.
        """
        self._change(labels, float(value), absolute=True)

    def add(self, amount: float, /, **labels: object) -> None:
        """Adds to the value of a set of labels; a negative amount takes away.

        Raises:
            UsageError: The labels are not the metric's.
        """
        self._change(labels, float(amount))


class _Series:
    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.sum = 0.0


class Histogram(Metric):
    """How values are distributed, such as sizes of batches."""

    kind: Kind = "histogram"

    def __init__(
        self, name: str, help: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> None:
        """Takes the upper bounds of the buckets beside what every metric has.

        Raises:
            UsageError: A name is not possible, or the bounds do not ascend.
        """
        bounds = tuple(float(bound) for bound in buckets if bound != math.inf)
        if not bounds or any(not a < b for a, b in itertools.pairwise((*bounds, math.inf))):
            raise UsageError(f"the buckets of histogram {name} have to ascend: {list(buckets)}")
        self.buckets = bounds
        super().__init__(name, help, labels)

    def _clear(self) -> None:
        self._series: dict[tuple[str, ...], _Series] = {}
        if not self.labels:
            self._series[()] = _Series(len(self.buckets) + 1)

    def observe(self, value: float, /, **labels: object) -> None:
        """Counts a value.

        Raises:
            UsageError: It is no number, or the labels are not the metric's.
        """
        if math.isnan(value):
            raise UsageError(f"histogram {self.name} cannot count what is no number")
        key = self._key(labels)
        with self._lock:
            series = self._series.get(key)
            if series is None:
                self._require_room(len(self._series))
                series = self._series[key] = _Series(len(self.buckets) + 1)
            series.counts[bisect.bisect_left(self.buckets, value)] += 1
            series.sum += value

    def collect(self) -> Family:
        """Its buckets now."""
        with self._lock:
            held = [(key, tuple(s.counts), s.sum) for key, s in self._series.items()]
        samples = [
            sample
            for key, counts, total in held
            for sample in histogram_samples(self._named(key), self.buckets, counts, total)
        ]
        return Family(self.name, "histogram", self.help, tuple(samples))


def histogram_samples(
    labels: tuple[tuple[str, str], ...],
    bounds: Sequence[float],
    counts: Sequence[int],
    total: float,
) -> list[Sample]:
    """The samples of a histogram: accumulated buckets, count and sum.

    Args:
        labels: Of all samples.
        bounds: Upper bounds, ascending, without infinity.
        counts: Of each bucket by itself, and of what is beyond the last bound.
        total: Sum of the values.
    """
    reached = list(itertools.accumulate(counts))
    names = [*(repr(float(bound)) for bound in bounds), "+Inf"]
    buckets = [
        Sample("_bucket", (*labels, ("le", name)), count)
        for name, count in zip(names, reached, strict=True)
    ]
    return [*buckets, Sample("_count", labels, reached[-1]), Sample("_sum", labels, total)]


_M = TypeVar("_M", bound=Metric)


class MetricRegistry:
    """The metrics that an application registered with a session.

    Example:
        >>> metrics = MetricRegistry()
        >>> requests = metrics.counter("requests", "Requests by route.", labels=["route"])
        >>> requests.add(route="/classify")
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics: dict[str, Metric] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """Registers a counter, or returns the one that was registered alike.

        Raises:
            UsageError: The name is taken otherwise, or not possible.
        """
        return self._register(Counter(name, help, labels))

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
        """Registers a gauge, or returns the one that was registered alike.

        Raises:
            UsageError: The name is taken otherwise, or not possible.
        """
        return self._register(Gauge(name, help, labels))

    def histogram(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = DEFAULT_BUCKETS,
    ) -> Histogram:
        """Registers a histogram, or returns the one that was registered alike.

        Raises:
            UsageError: The name is taken otherwise, or not possible.
        """
        return self._register(Histogram(name, help, labels, buckets))

    def collect(self) -> tuple[Family, ...]:
        """The values of all metrics now, in the order of registration."""
        with self._lock:
            metrics = list(self._metrics.values())
        return tuple(metric.collect() for metric in metrics)

    def begin_anew(self) -> None:
        """Forgets the values of all metrics; for a forked child."""
        self._lock = threading.Lock()
        for metric in self._metrics.values():
            metric.begin_anew()

    def _register(self, metric: _M) -> _M:
        with self._lock:
            known = self._metrics.get(metric.name)
            if type(known) is type(metric) and known is not None and _alike(known, metric):
                return known
            taken = {name for each in self._metrics.values() for name in each.sample_names}
            if taken & metric.sample_names:
                raise UsageError(
                    f"a metric of the name {metric.name} is registered already, as something else: "
                    "give another name"
                )
            self._metrics[metric.name] = metric
        return metric


def _alike(known: Metric, metric: Metric) -> bool:
    return known.labels == metric.labels and (
        not isinstance(known, Histogram)
        or (isinstance(metric, Histogram) and known.buckets == metric.buckets)
    )
