"""Register tiles: how many rows and vectors of a result are accumulated at once.

A tile of ``rows`` x ``vectors`` accumulators takes, per step of the reduction, ``rows · vectors``
multiply-adds, ``vectors`` loads of weights and ``rows`` broadcast loads. It runs at the
multiply-add units' rate when there are enough independent accumulators to hide their latency and
few enough loads; Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008),
and Van Zee and Smith, "Analytical Modeling Is Enough for High-Performance BLIS" (2016).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from ingot.targets.cpu.machine import CpuDescription

# Of every x86-64 core since Haswell and Zen 2, and of Arm's Neoverse cores: two multiply-add units
# of four cycles latency, and two vector loads per cycle.
_MULTIPLY_ADDS_PER_CYCLE = 2
_MULTIPLY_ADD_LATENCY = 4
_LOADS_PER_CYCLE = 2

_WIDEST_PANEL = 8


@dataclasses.dataclass(frozen=True)
class Run:
    """Equal tiles one after the other.

    Attributes:
        start: The first row of the first tile.
        count: Number of tiles.
        rows: Rows of each.
    """

    start: int
    count: int
    rows: int


def cycles_per_step(rows: int, vectors: int) -> float:
    """Returns the cycles that a tile needs for one step of the reduction."""
    return max(
        rows * vectors / _MULTIPLY_ADDS_PER_CYCLE,
        float(_MULTIPLY_ADD_LATENCY),
        (rows + vectors) / _LOADS_PER_CYCLE,
    )


def most_rows(vectors: int, cpu: CpuDescription) -> int:
    """Returns the rows of the tallest tile that the registers hold.

    Besides the accumulators, a step holds one register per vector of weights and one broadcast.
    """
    return max(1, (cpu.vector_registers - vectors - 1) // vectors)


@functools.cache
def split_rows(extent: int, vectors: int, cpu: CpuDescription) -> tuple[Run, ...]:
    """Splits rows into tiles of two neighbouring heights that cover them exactly.

    Equal heights leave no small remainder: 49 rows become nine tiles of five and one of four, not
    eight of six and one of one.
    """
    tallest = most_rows(vectors, cpu)
    fewest = -(-extent // tallest)
    return min(
        (split_evenly(extent, tiles) for tiles in range(fewest, min(fewest + 3, extent) + 1)),
        key=lambda runs: _steps_of(runs, vectors),
    )


def split_evenly(extent: int, tiles: int) -> tuple[Run, ...]:
    """Splits rows into so many tiles of two neighbouring heights, the taller ones first."""
    low, taller = divmod(extent, tiles)
    runs = [Run(0, taller, low + 1), Run(taller * (low + 1), tiles - taller, low)]
    return tuple(run for run in runs if run.count)


def _steps_of(runs: Sequence[Run], vectors: int) -> float:
    return sum(run.count * cycles_per_step(run.rows, vectors) for run in runs)


@dataclasses.dataclass(frozen=True)
class Panels:
    """How the columns of a result are cut into panels of whole vectors.

    Attributes:
        columns: Columns of the result.
        lanes: Columns of a vector.
        vectors: Vectors of a full panel.
    """

    columns: int
    lanes: int
    vectors: int

    @property
    def width(self) -> int:
        """Columns of a full panel."""
        return self.vectors * self.lanes

    @property
    def count(self) -> int:
        """Number of panels, the narrower last one included."""
        return -(-self.columns // self.width)

    @property
    def full(self) -> int:
        """Number of panels of the full width."""
        return self.columns // self.width

    @property
    def last_columns(self) -> int:
        """Columns of the narrower last panel; 0 where all are full."""
        return self.columns % self.width


def choose_panels(columns: int, row_extent: int | None, cpu: CpuDescription) -> Panels:
    """Chooses the width of the panels for a result.

    Args:
        columns: Columns of the result.
        row_extent: Rows that follow each other (of an image, or of the matrix), None where the
            number is not known before the code runs.
        cpu: The processor.
    """
    lanes = cpu.float_lanes

    def cycles(vectors: int) -> float:
        panels = Panels(columns, lanes, vectors)
        total = panels.full * _row_cycles(row_extent, vectors, cpu)
        if panels.last_columns:
            total += _row_cycles(row_extent, -(-panels.last_columns // lanes), cpu)
        return total

    candidates = range(1, min(_WIDEST_PANEL, -(-columns // lanes)) + 1)
    best = min(candidates, key=lambda vectors: (round(cycles(vectors), 6), vectors))
    return Panels(columns, lanes, best)


def _row_cycles(extent: int | None, vectors: int, cpu: CpuDescription) -> float:
    if extent is None:
        tallest = most_rows(vectors, cpu)
        return cycles_per_step(tallest, vectors) / tallest
    return _steps_of(split_rows(extent, vectors, cpu), vectors)
