"""The kernels of a trace against what this machine can do, as ``ingot profile`` has it.

Peaks are measured here and now, so they are held against a trace only where it was made on the
same kind of processor.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pydantic

from ingot.report.machine import machine_facts
from ingot.report.traces.events import Event, Trace
from ingot.runtime.manifest import KernelCost
from ingot.statistics import Samples

if TYPE_CHECKING:  # the compiler takes seconds to load, and most traces need none of it
    from ingot.targets.cpu.probe import Roofline

_SOURCE = "kernel"


@dataclasses.dataclass(frozen=True)
class Peaks:
    """What kernels are held against.

    Attributes:
        roofline: This machine's peaks; None where they cannot be held against the trace.
        reason: Why there are none, in a sentence; None where no kernel states what it does.
    """

    roofline: Roofline | None = None
    reason: str | None = None


class KernelFigures(pydantic.BaseModel):
    """A kernel's row. What its cost decides is None where the trace does not state it.

    Attributes:
        kernel: Its name in the code.
        artifact: What it is a part of; None where the trace does not say.
        operators: What it computes, likewise.
        calls: How often it was called.
        p50_us: Microseconds of a call, median.
        total_us: Of all calls.
        share: Its part of the time of all kernels.
        gops: Operations per second, in 10^9; a multiply-add is two. Median over calls.
        gbs: Bytes of inputs and outputs per second, in 10^9, likewise.
        percent_of_roofline: The least time that this machine would take, by its peaks, as a
            percentage of the time taken, likewise; None without peaks.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    kernel: str
    artifact: str | None
    operators: str | None
    calls: int
    p50_us: float
    total_us: float
    share: float
    gops: float | None
    gbs: float | None
    percent_of_roofline: float | None


def kernel_figures(trace: Trace, roofline: Roofline | None) -> tuple[KernelFigures, ...]:
    """The kernels, the one that took the longest first.

    Args:
        trace: A trace, or a part of one.
        roofline: This machine's peaks, where they can be held against the trace.
    """
    kernels: dict[tuple[str | None, str], list[Event]] = collections.defaultdict(list)
    for event in trace.events:
        if event.source == _SOURCE and not event.estimate:
            kernels[_text(event, "artifact"), event.name].append(event)
    whole = sum(event.duration for calls in kernels.values() for event in calls)
    rows = [
        _figures(name, artifact, calls, whole, roofline)
        for (artifact, name), calls in kernels.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.total_us, row.kernel)))


def peaks_for(trace: Trace) -> Peaks:
    """Measures this machine's peaks, where the trace's kernels can be held against them.

    They are those on as many threads as the trace says.
    """
    costs = [_cost(event) for event in trace.events if event.source == _SOURCE]
    if not any(cost is not None for cost in costs):
        return Peaks()
    here = machine_facts().cpu
    there = trace.about.machine.get("cpu")
    if there != here:
        made = "a machine that it does not name" if there is None else f"another machine ({there})"
        return Peaks(
            reason=f"The trace was made on {made}: its kernels are not held against the peaks of "
            f"{here}."
        )
    from ingot.targets.cpu.probe import Probe

    return Peaks(Probe().roofline(_threads(trace)))


def _figures(
    name: str,
    artifact: str | None,
    calls: Sequence[Event],
    whole: int,
    roofline: Roofline | None,
) -> KernelFigures:
    durations = np.array([event.duration for event in calls], dtype=np.float64)
    total = float(durations.sum())
    costs = [cost for cost in map(_cost, calls) if cost is not None]
    # Nothing is said of a kernel of which some calls do not state what they do.
    stated = costs if len(costs) == len(calls) else []
    return KernelFigures(
        kernel=name,
        artifact=artifact,
        operators=_text(calls[0], "operators"),
        calls=len(calls),
        p50_us=float(np.median(durations)) / 1e3,
        total_us=total / 1e3,
        share=total / whole if whole else 0.0,
        gops=_median_rate([cost.operations or 0 for cost in stated], durations),
        gbs=_median_rate([cost.bytes or 0 for cost in stated], durations),
        percent_of_roofline=None
        if roofline is None
        else _median_rate([1e11 * _least(cost, roofline) for cost in stated], durations),
    )


def _median_rate(work: Sequence[float], nanoseconds: Samples) -> float | None:
    """The median over calls of work per nanosecond; None without work or time."""
    if not work or not nanoseconds.all():
        return None
    return float(np.median(np.array(work) / nanoseconds))


def _least(cost: KernelCost, roofline: Roofline) -> float:
    """The least seconds that a call takes on this machine."""
    from ingot.targets.cpu.cost import multiplied

    return roofline.seconds(cost.operations or 0, cost.bytes or 0, multiplied(cost.operators))


def _cost(event: Event) -> KernelCost | None:
    """What a call does; None where the trace does not state all of it."""
    operations, size = event.args.get("operations"), event.args.get("bytes")
    if not isinstance(operations, (int, float)) or not isinstance(size, (int, float)):
        return None
    if not math.isfinite(operations) or not math.isfinite(size):
        return None
    return KernelCost(_text(event, "operators") or "", int(operations), int(size), 1)


def _text(event: Event, key: str) -> str | None:
    value = event.args.get(key)
    return value if isinstance(value, str) and value else None


def _threads(trace: Trace) -> int:
    """Threads of an inference, as the trace says; else all that this process may use."""
    available = len(os.sched_getaffinity(0))
    stated = str(trace.about.machine.get("threads", ""))
    return min(int(stated), available) if stated.isdecimal() and int(stated) > 0 else available
