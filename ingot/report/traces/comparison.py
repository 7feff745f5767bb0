"""Traces against traces, stage by stage: what got slower or faster, and what is noise."""

from __future__ import annotations

import dataclasses
import enum
import warnings
from collections.abc import Sequence

import numpy as np
import pydantic
import scipy.stats

from ingot.errors import UsageError
from ingot.report.traces.events import Event, Trace
from ingot.report.traces.summary import by_stage
from ingot.statistics import (
    CONFIDENCE,
    FEWEST_UNPAIRED,
    Estimate,
    Samples,
    difference_of_medians,
)

FEWEST_TRACES = 3
"""Traces of a side from which on processes' differences from each other are told."""


class Verdict(str, enum.Enum):
    """What a difference is."""

    SLOWER = "slower"
    FASTER = "faster"
    SLOWER_RUN = "slower in this run"
    FASTER_RUN = "faster in this run"
    NOISE = "noise"
    FEW = "too few events"
    NEW = "only here"
    GONE = "only there"

    @property
    def found(self) -> bool:
        """Whether the stage differs, in these runs at least."""
        return any(self in pair for pair in _FOUND.values())


# By whether several traces of each say so, and not one of each.
_FOUND = {
    True: (Verdict.SLOWER, Verdict.FASTER),
    False: (Verdict.SLOWER_RUN, Verdict.FASTER_RUN),
}


class ComparedStage(pydantic.BaseModel):
    """A stage in both traces. Times are microseconds of an event.

    Attributes:
        source: Where its events come from.
        name: Its name.
        count: How many events.
        reference_count: How many in the other trace.
        p50_us: Median; of several traces the mean of theirs.
        reference_p50_us: Likewise in the other trace.
        difference_us: Of the medians; above zero where this trace is slower.
        low_us: The interval of the difference; None where there are too few events.
        high_us: Likewise.
        total_difference_us: Difference of the total times of a trace, which numbers of events
            change too.
        verdict: What the difference is.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    source: str
    name: str
    count: int
    reference_count: int
    p50_us: float | None
    reference_p50_us: float | None
    difference_us: float | None
    low_us: float | None
    high_us: float | None
    total_difference_us: float
    verdict: Verdict


def compare_traces(
    traces: Sequence[Trace], references: Sequence[Trace]
) -> tuple[ComparedStage, ...]:
    """Compares stages of the same source and name; found differences first, then by size.

    Intervals hold at 95 % for all stages together (Bonferroni). Between two traces they are of what
    varies within these two runs. Between several of each they are of the medians of whole runs
    (Welch's t), and so of what differs from process to process, too.

    Args:
        traces: A trace, or three and more of the same program; or a part of each.
        references: What they are held against, as many or not; the same part of each.

    Raises:
        UsageError: One side has one trace and the other has more, or a side has two.
    """
    several = len(traces) > 1 or len(references) > 1
    if several and min(len(traces), len(references)) < FEWEST_TRACES:
        raise UsageError(
            f"{len(traces)} and {len(references)} traces cannot be compared: give one of each, or "
            f"{FEWEST_TRACES} and more of each"
        )
    here, there = ([by_stage(trace.events) for trace in side] for side in (traces, references))
    stages = list(dict.fromkeys(stage for side in (here, there) for one in side for stage in one))
    pairs = [
        _Stage(stage, _durations(here, stage), _durations(there, stage), several)
        for stage in stages
    ]
    judged = sum(pair.judged for pair in pairs)
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, judged)
    return tuple(sorted((_compared(pair, confidence) for pair in pairs), key=_rank))


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A stage's microseconds in each trace of either side, in the order of time."""

    stage: tuple[str, str]
    here: Sequence[Samples]
    there: Sequence[Samples]
    several: bool

    @property
    def judged(self) -> bool:
        """Whether there is enough of it for an interval."""
        if self.several:
            return all(each.size for each in (*self.here, *self.there))
        return min(self.here[0].size, self.there[0].size) >= FEWEST_UNPAIRED

    def difference(self, confidence: float) -> Estimate:
        """The difference of the medians with its interval."""
        if not self.several:
            return difference_of_medians(self.here[0], self.there[0], confidence=confidence)
        medians = [[float(np.median(each)) for each in side] for side in (self.here, self.there)]
        value = float(np.mean(medians[0]) - np.mean(medians[1]))
        if np.ptp(medians[0]) == np.ptp(medians[1]) == 0:
            return Estimate(value, value, value)
        with warnings.catch_warnings():
            # Times are whole nanoseconds, so that medians are often nearly alike: which is right.
            warnings.simplefilter("ignore", RuntimeWarning)
            test = scipy.stats.ttest_ind(*medians, equal_var=False)
            found = test.confidence_interval(confidence)
        return Estimate(value, float(found.low), float(found.high))


def _compared(pair: _Stage, confidence: float) -> ComparedStage:
    counts = [sum(each.size for each in side) for side in (pair.here, pair.there)]
    p50 = [_typical(side) for side in (pair.here, pair.there)]
    difference = None if p50[0] is None or p50[1] is None else p50[0] - p50[1]
    low = high = None
    if not counts[1]:
        verdict = Verdict.NEW
    elif not counts[0]:
        verdict = Verdict.GONE
    elif not pair.judged:
        verdict = Verdict.FEW
    else:
        found = pair.difference(confidence)
        difference, low, high = found.value, found.low, found.high
        slower, faster = _FOUND[pair.several]
        verdict = slower if low > 0 else faster if high < 0 else Verdict.NOISE
    totals = [
        sum(float(each.sum()) for each in side) / len(side) for side in (pair.here, pair.there)
    ]
    return ComparedStage(
        source=pair.stage[0],
        name=pair.stage[1],
        count=counts[0],
        reference_count=counts[1],
        p50_us=p50[0],
        reference_p50_us=p50[1],
        difference_us=difference,
        low_us=low,
        high_us=high,
        total_difference_us=totals[0] - totals[1],
        verdict=verdict,
    )


def _typical(side: Sequence[Samples]) -> float | None:
    """The median; of several traces the mean of theirs."""
    medians = [float(np.median(each)) for each in side if each.size]
    return float(np.mean(medians)) if medians else None


def _durations(
    side: Sequence[dict[tuple[str, str], list[Event]]], stage: tuple[str, str]
) -> list[Samples]:
    return [
        np.array([event.duration for event in one.get(stage, ())], dtype=np.float64) / 1e3
        for one in side
    ]


def _rank(row: ComparedStage) -> tuple[bool, float, str, str]:
    noise = row.verdict in (Verdict.NOISE, Verdict.FEW)
    return noise, -abs(row.total_difference_us), row.source, row.name
