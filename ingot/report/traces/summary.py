"""What a trace says in figures: its stages, the slowest first, and what it is made of."""

from __future__ import annotations

import collections
from collections.abc import Iterable

import numpy as np
import pydantic

from ingot.report.traces.events import Event, Mark, Trace
from ingot.statistics import quantile

_MICROSECOND = 1e3


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class StageRow(_Model):
    """A stage's row. Times are microseconds.

    Attributes:
        source: Where its events come from.
        name: Its name.
        count: How many events.
        mean_us: Of an event.
        p50_us: Of an event.
        p99_us: Of an event; None below 100 events.
        total_us: Of all events, with what lies within them.
        self_us: Of all events, without what lies within them.
        share: Its part of the self time of all stages.
    """

    source: str
    name: str
    count: int
    mean_us: float
    p50_us: float
    p99_us: float | None
    total_us: float
    self_us: float
    share: float


class EstimateRow(_Model):
    """An estimate's row: what an NPU would take by its compiler's model.

    Attributes:
        name: The stage's name.
        count: How often.
        estimated_us: Estimated microseconds, of each.
        cycles: Estimated cycles of each, where they are stated.
    """

    name: str
    count: int
    estimated_us: float
    cycles: float | None


class TraceSummary(_Model):
    """A trace in figures.

    Attributes:
        session: The session's name; None for another program's trace.
        started: When it began, ISO 8601; None where the trace does not say.
        machine: Facts of the machine that it was made on.
        events: Events with a duration.
        marks: Moments.
        samples: Values of counters and metrics.
        threads: Threads with events.
        requests: Requests that events name.
        dropped: Events that the session had no room for.
        duration_us: Microseconds from the first moment to the last.
        stages: The one with the largest self time first.
        estimates: What was estimated and not measured.
        notes: What could not be read as it stands.
    """

    session: str | None
    started: str | None
    machine: dict[str, str]
    events: int
    marks: int
    samples: int
    threads: int
    requests: int
    dropped: int
    duration_us: float
    stages: tuple[StageRow, ...]
    estimates: tuple[EstimateRow, ...]
    notes: tuple[str, ...]


def summarize(trace: Trace) -> TraceSummary:
    """Counts a trace, or a part of one."""
    begin, end = trace.span()
    entries: list[Event | Mark] = [*trace.events, *trace.marks]
    return TraceSummary(
        session=trace.about.session,
        started=trace.about.started,
        machine=dict(trace.about.machine),
        events=len(trace.events),
        marks=len(trace.marks),
        samples=len(trace.samples),
        threads=len({event.thread for event in trace.events}),
        requests=len({entry.request for entry in entries} - {None}),
        dropped=trace.about.dropped,
        duration_us=(end - begin) / _MICROSECOND,
        stages=_stage_rows(trace.events),
        estimates=_estimate_rows(trace.events),
        notes=trace.notes,
    )


def by_stage(events: Iterable[Event]) -> dict[tuple[str, str], list[Event]]:
    """Measured events by source and name, each stage's in the order in which they began."""
    stages: dict[tuple[str, str], list[Event]] = collections.defaultdict(list)
    for event in sorted(events, key=lambda event: event.start):
        if not event.estimate:
            stages[event.stage].append(event)
    return dict(stages)


def _stage_rows(events: Iterable[Event]) -> tuple[StageRow, ...]:
    stages = by_stage(events)
    own = {stage: sum(event.self_time for event in found) for stage, found in stages.items()}
    whole = sum(own.values())
    rows = []
    for stage, found in stages.items():
        durations = np.array([event.duration for event in found]) / _MICROSECOND
        rows.append(
            StageRow(
                source=stage[0],
                name=stage[1],
                count=len(found),
                mean_us=float(durations.mean()),
                p50_us=float(np.median(durations)),
                p99_us=quantile(durations, 0.99),
                total_us=float(durations.sum()),
                self_us=own[stage] / _MICROSECOND,
                share=own[stage] / whole if whole else 0.0,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.self_us, row.source, row.name)))


def _estimate_rows(events: Iterable[Event]) -> tuple[EstimateRow, ...]:
    names: dict[str, list[Event]] = collections.defaultdict(list)
    for event in events:
        if event.estimate:
            names[event.name].append(event)
    rows = []
    for name, found in names.items():
        cycles = [event.args.get("cycles") for event in found]
        stated = [float(value) for value in cycles if isinstance(value, (int, float))]
        rows.append(
            EstimateRow(
                name=name,
                count=len(found),
                estimated_us=float(np.median([event.duration for event in found])) / _MICROSECOND,
                cycles=float(np.median(stated)) if stated else None,
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.count * row.estimated_us, row.name)))
