"""What a profile tells about causes: where one is known, what to do about it.

A cause is named only where it takes a large part of the time, so that most profiles have no hint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from ingot.runtime.manifest import REGION_PREFIX
from ingot.targets.cpu.cost import multiplied

if TYPE_CHECKING:
    from ingot.report.profile import KernelRow, ModelProfile
    from ingot.targets.cpu.probe import Roofline

# Parts of the time from which a cause is worth naming.
_LARGE_PART = 0.3
_MOST = 0.5
# Percent of the roofline: below the one a kernel leaves much, above the other it has what there is.
_FAR_BELOW = 25.0
_NEAR = 60.0
# Milliseconds below which waking threads, and what an inference does besides, count.
_TINY = 1.0


def hints(
    found: ModelProfile, *, usable_cpus: int, plain_loops: Collection[str] = ()
) -> tuple[str, ...]:
    """Names the known causes that a profile shows, each in one sentence with what to do.

    Args:
        found: The profile.
        usable_cpus: How many threads can compute at once.
        plain_loops: The kernels that no schedule fits.
    """
    causes = (
        _more_threads_than_cpus(found, usable_cpus),
        _regions(found.rows),
        _plain_loops(found.rows, plain_loops),
        _memory_bound(found),
        _outside_kernels(found),
        _far_below(found, plain_loops),
    )
    return tuple(hint for cause in causes for hint in cause)


def _more_threads_than_cpus(found: ModelProfile, usable: int) -> Iterator[str]:
    if found.threads > usable:
        yield (
            f"{found.threads} threads take turns on {usable} CPU{'s' * (usable > 1)} that this "
            f"process may use: try --threads {usable}, or see `ingot doctor --tune`."
        )


def _regions(rows: Sequence[KernelRow]) -> Iterator[str]:
    share = _share(row for row in rows if row.kernel.startswith(REGION_PREFIX))
    if share >= _LARGE_PART:
        yield (
            f"Regions of ONNX Runtime take {share:.0%} of the kernels' time: `ingot inspect` says "
            "why each node was left to it."
        )


def _plain_loops(rows: Sequence[KernelRow], plain: Collection[str]) -> Iterator[str]:
    loops = [row for row in rows if row.kernel in plain]
    if (share := _share(loops)) >= _LARGE_PART:
        longest = max(loops, key=lambda row: row.ms)
        yield (
            f"Kernels that no schedule fits run as plain loops and take {share:.0%} of the time, "
            f"{longest.operators or longest.kernel} the most: another form of these operators may "
            "have one (placement.cpu.unscheduled in `ingot inspect --json` lists them)."
        )


def _memory_bound(found: ModelProfile) -> Iterator[str]:
    bound = [
        row
        for row in found.rows
        if _waits_for_memory(row, found) and (row.percent_of_roofline or 0.0) >= _NEAR
    ]
    if (share := _share(bound)) >= _MOST:
        smaller = "" if found.precision == "int8" else " `--recipe int8` has less to read;"
        yield (
            f"Kernels that wait for memory, near to its bandwidth, take {share:.0%} of the time: "
            f"more threads do not help;{smaller} a larger batch shares the weights."
        )


def _waits_for_memory(row: KernelRow, found: ModelProfile) -> bool:
    """Whether moving a kernel's bytes takes longer at best than its operations."""
    if row.gops is None or row.gbs is None or not row.calls:
        return False
    operations, size = (rate * row.ms * 1e6 / row.calls for rate in (row.gops, row.gbs))
    return size / found.roofline.bandwidth(int(size)) > operations / _peak(row, found.roofline)


def _peak(row: KernelRow, roofline: Roofline) -> float:
    return roofline.peak(multiplied(row.operators or ""))


def _outside_kernels(found: ModelProfile) -> Iterator[str]:
    outside = 1.0 - found.kernels_ms / found.ms if found.ms else 0.0
    if outside < _LARGE_PART or found.ms >= _TINY:
        return
    fewer = " and --threads 1" if found.threads > 1 else ""
    yield (
        f"{outside:.0%} of the inference is outside of kernels, which are short here: try a larger "
        f"batch{fewer}, and buffers that are bound once (session.bind)."
    )


def _far_below(found: ModelProfile, plain: Collection[str]) -> Iterator[str]:
    """Long kernels that have a schedule and leave most of what the machine can do."""
    rows = [
        row
        for row in found.rows
        if row.kernel not in plain
        and row.percent_of_roofline is not None
        and row.percent_of_roofline < _FAR_BELOW
    ]
    if (share := _share(rows)) < _MOST:
        return
    if found.threads > 1 and found.ms < _TINY:
        advice = "an inference this short may be faster on --threads 1."
    else:
        advice = "see what else is running and what holds the clock down (`ingot doctor --tune`)."
    yield (
        f"Kernels below {_FAR_BELOW:.0f} % of what this machine can do take {share:.0%} of the "
        f"kernels' time: {advice}"
    )


def _share(rows: Iterable[KernelRow]) -> float:
    return sum(row.share for row in rows)
