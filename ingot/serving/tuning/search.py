"""Measures candidates, each in a server of its own, and finds the best of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from ingot.serving.load.capacity import capacity, holds
from ingot.serving.load.outcomes import LoadOutcome
from ingot.serving.tuning.candidates import Candidate

Load = Callable[[float], LoadOutcome]
Measure = Callable[[Candidate], "Loaded"]


@dataclasses.dataclass(frozen=True)
class Point:
    """A load that a candidate answered.

    Attributes:
        candidate: The candidate.
        rate: Results per second.
        p99_ms: Milliseconds within which 99 % of them came.
    """

    candidate: Candidate
    rate: float
    p99_ms: float


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A candidate as it was measured.

    Attributes:
        candidate: The candidate.
        rate: The largest rate within the bound; 0 if there is none.
        points: All loads that were answered, within the bound or not.
    """

    candidate: Candidate
    rate: float
    points: tuple[Point, ...]


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What came out.

    Attributes:
        measured: The candidates, the best first.
        left: Candidates for which there was no time.
    """

    measured: tuple[Loaded, ...]
    left: tuple[Candidate, ...]

    @property
    def best(self) -> Loaded | None:
        """The candidate that takes most within the bound; None if none takes anything."""
        return self.measured[0] if self.measured and self.measured[0].rate else None

    @property
    def front(self) -> list[Point]:
        """The loads that no other is better than, in rate and latency, the slowest first."""
        return pareto_front([point for loaded in self.measured for point in loaded.points])


def tune(
    tried: Sequence[Candidate],
    measure: Measure,
    budget_seconds: float,
    progress: Callable[[Candidate, Loaded], None] = lambda _, __: None,
) -> Tuning:
    """Measures candidates in turn until all are or the time is up; one is always measured.

    Args:
        tried: The candidates.
        measure: Measures one.
        budget_seconds: The time; a candidate that has begun is finished.
        progress: Told of each that was measured.
    """
    until = time.monotonic() + budget_seconds
    measured: list[Loaded] = []
    left: list[Candidate] = []
    for candidate in tried:
        if measured and time.monotonic() > until:
            left.append(candidate)
            continue
        measured.append(measure(candidate))
        progress(candidate, measured[-1])
    measured.sort(key=lambda loaded: -loaded.rate)
    return Tuning(tuple(measured), tuple(left))


def measure_candidate(candidate: Candidate, load: Load, p99: float, guess: float) -> Loaded:
    """Finds what a candidate takes within a bound.

    Args:
        candidate: The candidate.
        load: Puts a rate on its server.
        p99: The bound, in seconds.
        guess: A rate that it is likely to take.
    """
    points: list[Point] = []

    def noted(rate: float) -> LoadOutcome:
        outcome = load(rate)
        # Of an overload, the latencies say how long it went on, nothing of the server.
        if holds(outcome, 4 * p99):
            points.append(Point(candidate, outcome.throughput, outcome.percentile(99) * 1e3))
        return outcome

    found = capacity(noted, p99, guess)
    return Loaded(candidate, found.rate, tuple(points))


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other is better than: in rate, or in latency at no lower rate."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (-point.rate, point.p99_ms)):
        if not front or point.p99_ms < front[-1].p99_ms:
            front.append(point)
    return front[::-1]
