"""How a layer's work is cut into tasks: for the threads, and for the second-level cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.machine import CpuDescription

MOST_SHARES = 64
"""Weights are asked for a panel ahead where at most so many tiles use a panel: with more of them,
the time that the first of them waits does not count."""


@dataclasses.dataclass(frozen=True)
class Blocking:
    """The grid of tasks.

    Attributes:
        row_blocks: Parts that the rows are cut into.
        panel_groups: Parts that the panels are cut into.
    """

    row_blocks: int
    panel_groups: int

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return self.row_blocks * self.panel_groups


def choose_blocking(
    *,
    row_units: int,
    row_bytes: float,
    panels: int,
    panel_bytes: float,
    operations: float,
    cpu: CpuDescription,
) -> Blocking:
    """Chooses the grid with the least estimated time.

    A task goes through its panels one after the other, and through its rows for each: the panel
    stays in cache, the rows are read again for each panel, from the second-level cache if they fit.

    Args:
        row_units: Units that rows can be cut at.
        row_bytes: Bytes that are read for a unit.
        panels: Panels that columns can be cut at.
        panel_bytes: Bytes of a panel's weights.
        operations: Operations of the whole layer.
        cpu: The processor.
    """
    compute = operations / cpu.operations_per_cycle
    small = operations < cpu.launch_operations

    def cycles(blocking: Blocking) -> float:
        rows = row_bytes * row_units / blocking.row_blocks
        group = panels / blocking.panel_groups
        again = 1.0 if rows <= cpu.core.resident_bytes else group
        traffic = blocking.tasks * (rows * again + group * panel_bytes)
        waste = 1.0 if small else _imbalance(blocking, row_units, panels, cpu.thread_counts)
        return compute * waste + traffic / cpu.core.busy_l3_bytes_per_cycle

    candidates = [
        Blocking(row_blocks, panel_groups)
        for row_blocks in divisions(row_units)
        for panel_groups in divisions(panels)
    ]
    return min(candidates, key=lambda blocking: (cycles(blocking), blocking.tasks))


def _imbalance(
    blocking: Blocking, row_units: int, panels: int, thread_counts: Sequence[int]
) -> float:
    """Time over the ideal, mean of some thread counts; tasks are dealt in equal parts."""
    largest = -(-row_units // blocking.row_blocks) * -(-panels // blocking.panel_groups)
    uneven = largest * blocking.tasks / (row_units * panels)
    # One thread does all tasks whatever they are.
    counts = [threads for threads in thread_counts if threads > 1] or [1]
    over = [
        max(1.0, uneven * -(-blocking.tasks // threads) * threads / blocking.tasks)
        for threads in counts
    ]
    return sum(over) / len(over)


def divisions(units: int) -> list[int]:
    """Returns numbers of parts worth trying: powers of two, divisors, and one part per unit."""
    parts = {1, units}
    parts |= {2**power for power in range(1, 9) if 2**power <= units}
    parts |= {number for number in range(2, min(units, 128) + 1) if units % number == 0}
    return sorted(part for part in parts if part <= 256 or part == units)


def part(number: tirx.Expr, units: int, parts: int) -> tuple[tirx.Expr, tirx.Expr]:
    """Returns the bounds of one of several nearly equal, contiguous parts."""
    if units % parts == 0:
        each = index(units // parts)
        return number * each, number * each + each
    return number * index(units) // index(parts), (number + 1) * index(units) // index(parts)
