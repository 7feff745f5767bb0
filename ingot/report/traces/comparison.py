"""Two traces, stage by stage: what got slower or faster, and what is noise."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np
import pydantic

from ingot.report.statistics import CONFIDENCE, FEWEST_UNPAIRED, difference_of_medians
from ingot.report.traces.events import Event, Trace
from ingot.report.traces.summary import by_stage


class Verdict(str, enum.Enum):
    """What a difference is."""

    SLOWER = "slower"
    FASTER = "faster"
    NOISE = "noise"
    FEW = "too few events"
    NEW = "only here"
    GONE = "only there"


class ComparedStage(pydantic.BaseModel):
    """A stage in both traces. Times are microseconds of an event.

    Attributes:
        source: Where its events come from.
        name: Its name.
        count: How many events.
        reference_count: How many in the other trace.
        p50_us: Median.
        reference_p50_us: Median in the other trace.
        difference_us: Of the medians; above zero where this trace is slower.
        low_us: The interval of the difference; None where there are too few events.
        high_us: Likewise.
        total_difference_us: Difference of the total times, which numbers of events change too.
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


def compare_traces(trace: Trace, reference: Trace) -> tuple[ComparedStage, ...]:
    """Compares stages of the same source and name; found differences first, then by size.

    Intervals hold at 95 % for all stages together (Bonferroni): in one of twenty comparisons of
    traces that do not differ, some stage is called slower or faster.

    Args:
        trace: A trace, or a part of one.
        reference: What it is held against, the same part of it.
    """
    here, there = by_stage(trace.events), by_stage(reference.events)
    stages = [*here, *(stage for stage in there if stage not in here)]
    judged = sum(
        1
        for stage in stages
        if min(len(here.get(stage, ())), len(there.get(stage, ()))) >= FEWEST_UNPAIRED
    )
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, judged)
    rows = [
        _compared(stage, here.get(stage, []), there.get(stage, []), confidence) for stage in stages
    ]
    return tuple(sorted(rows, key=_rank))


def _compared(
    stage: tuple[str, str], here: Sequence[Event], there: Sequence[Event], confidence: float
) -> ComparedStage:
    first, second = _microseconds(here), _microseconds(there)
    low = high = None
    if not there:
        verdict = Verdict.NEW
    elif not here:
        verdict = Verdict.GONE
    elif min(len(here), len(there)) < FEWEST_UNPAIRED:
        verdict = Verdict.FEW
    else:
        found = difference_of_medians(first, second, confidence=confidence)
        low, high = found.low, found.high
        verdict = Verdict.SLOWER if low > 0 else Verdict.FASTER if high < 0 else Verdict.NOISE
    median = float(np.median(first)) if here else None
    reference = float(np.median(second)) if there else None
    return ComparedStage(
        source=stage[0],
        name=stage[1],
        count=len(here),
        reference_count=len(there),
        p50_us=median,
        reference_p50_us=reference,
        difference_us=None if median is None or reference is None else median - reference,
        low_us=low,
        high_us=high,
        total_difference_us=float(first.sum() - second.sum()),
        verdict=verdict,
    )


def _microseconds(events: Sequence[Event]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([event.duration for event in events], dtype=np.float64) / 1e3


def _rank(row: ComparedStage) -> tuple[bool, float, str, str]:
    noise = row.verdict in (Verdict.NOISE, Verdict.FEW)
    return noise, -abs(row.total_difference_us), row.source, row.name
