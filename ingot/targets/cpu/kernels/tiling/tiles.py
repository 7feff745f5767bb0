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
from typing import ClassVar

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.microarchitecture.description import Microarchitecture

# Of a loop over the reduction: its counter, the comparison, and the jump.
_LOOP_INSTRUCTIONS = 3
# Of four values each, which ``pmaddubsw`` multiplies and one addition in 16 bits brings together.
_GROUPS = 2


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


@dataclasses.dataclass(frozen=True)
class MultiplyAdd:
    """The step of one instruction per accumulator: ``vfmadd``, ``fmla``, ``vpdpbusd``, ``usdot``.

    Besides the accumulators, it holds one register per vector of weights and one broadcast.

    Attributes:
        widest_panel: Vectors of the widest panel.
        two_heights: How much longer tiles of one height may take than tiles of two.
    """

    widest_panel: ClassVar[int] = 8
    two_heights: ClassVar[float] = 1.0

    def reads_weights_again(self, vectors: int) -> bool:
        """Returns whether each row reads the panel's weights itself: registers hold them."""
        del vectors
        return False

    def most_rows(self, vectors: int, registers: int) -> int:
        """Returns the rows of the tallest tile that so many registers hold."""
        return max(1, (registers - vectors - 1) // vectors)

    def cycles(self, rows: int, vectors: int, core: Microarchitecture) -> float:
        """Returns the cycles that a tile needs for one step of the reduction."""
        return max(
            rows * vectors / core.multiply_adds_per_cycle,
            core.multiply_add_latency,
            (rows + vectors) / core.loads_per_cycle,
        )


@dataclasses.dataclass(frozen=True)
class PairedProducts:
    """The step of ``pmaddubsw``: two groups of four values, added in 16 bits and then widened.

    Per accumulator these are five instructions, three of which multiply. How many instructions the
    core takes in per cycle limits it before the multipliers do, the more so where a neighbour runs
    on the same core. So weights are read from memory by the instructions that multiply with them,
    by each row's again, instead of by loads into registers; and the wider a tile is, the fewer
    broadcasts there are per accumulator. Beyond four vectors the panel's weights leave the
    first-level cache too often: single layers of ResNet-50 got slower.

    Besides the accumulators, it holds the broadcasts of two groups, the ones that widen, and two
    sums on their way.

    Attributes:
        widest_panel: Vectors of the widest panel.
        two_heights: How much longer tiles of one height may take than tiles of two, which are twice
            the code: of a small network's file that is more than of its time.
    """

    widest_panel: ClassVar[int] = 4
    two_heights: ClassVar[float] = 1.02

    def reads_weights_again(self, vectors: int) -> bool:
        """Returns whether each row reads the panel's weights itself.

        A single vector's two stay in registers: a row has too few products to hide the loads.
        """
        return vectors > 1

    def most_rows(self, vectors: int, registers: int) -> int:
        """Returns the rows of the tallest tile that so many registers hold."""
        weights = 0 if self.reads_weights_again(vectors) else _GROUPS * vectors
        return max(1, (registers - weights - _GROUPS - 3) // vectors)

    def cycles(self, rows: int, vectors: int, core: Microarchitecture) -> float:
        """Returns the cycles that a tile needs for two groups of the reduction."""
        loads = _GROUPS * vectors * (rows if self.reads_weights_again(vectors) else 1)
        broadcasts = _GROUPS * rows
        instructions = rows * vectors * (2 * _GROUPS + 1) + broadcasts + _LOOP_INSTRUCTIONS
        if not self.reads_weights_again(vectors):
            instructions += loads
        return max(
            rows * vectors * (_GROUPS + 1) / core.multiply_adds_per_cycle,
            (loads + broadcasts) / core.loads_per_cycle,
            instructions / core.instructions_of_a_thread,
        )


Step = MultiplyAdd | PairedProducts

MULTIPLY_ADD = MultiplyAdd()


def most_rows(vectors: int, cpu: CpuDescription, step: Step = MULTIPLY_ADD) -> int:
    """Returns the rows of the tallest tile that the registers hold."""
    return step.most_rows(vectors, cpu.vector_registers)


@functools.cache
def split_rows(
    extent: int, vectors: int, cpu: CpuDescription, step: Step = MULTIPLY_ADD
) -> tuple[Run, ...]:
    """Splits rows into tiles of two neighbouring heights that cover them exactly.

    Equal heights leave no small remainder: 49 rows become nine tiles of five and one of four, not
    eight of six and one of one.
    """
    tallest = most_rows(vectors, cpu, step)
    fewest = -(-extent // tallest)

    def cost(runs: tuple[Run, ...]) -> float:
        return _cycles_of(runs, vectors, cpu, step) * (1.0 if len(runs) == 1 else step.two_heights)

    return min(
        (split_evenly(extent, tiles) for tiles in range(fewest, min(fewest + 3, extent) + 1)),
        key=cost,
    )


def split_evenly(extent: int, tiles: int) -> tuple[Run, ...]:
    """Splits rows into so many tiles of two neighbouring heights, the taller ones first."""
    low, taller = divmod(extent, tiles)
    runs = [Run(0, taller, low + 1), Run(taller * (low + 1), tiles - taller, low)]
    return tuple(run for run in runs if run.count)


def _cycles_of(runs: Sequence[Run], vectors: int, cpu: CpuDescription, step: Step) -> float:
    return sum(run.count * step.cycles(run.rows, vectors, cpu.core) for run in runs)


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


def choose_panels(
    columns: int, row_extent: int | None, cpu: CpuDescription, step: Step = MULTIPLY_ADD
) -> Panels:
    """Chooses the width of the panels for a result.

    Args:
        columns: Columns of the result.
        row_extent: Rows that follow each other (of an image, or of the matrix), None where the
            number is not known before the code runs.
        cpu: The processor.
        step: What a step of the reduction takes of it.
    """
    lanes = cpu.float_lanes

    def cycles(vectors: int) -> float:
        return panel_cycles(Panels(columns, lanes, vectors), row_extent, cpu, step)

    candidates = range(1, min(step.widest_panel, -(-columns // lanes)) + 1)
    best = min(candidates, key=lambda vectors: (round(cycles(vectors), 6), vectors))
    return Panels(columns, lanes, best)


def panel_cycles(
    panels: Panels, row_extent: int | None, cpu: CpuDescription, step: Step = MULTIPLY_ADD
) -> float:
    """Returns the cycles that a step of the reduction takes for all rows and panels.

    Args:
        panels: The panels.
        row_extent: Rows that follow each other, None for the cycles of one.
        cpu: The processor.
        step: What a step takes of it.
    """
    total = panels.full * _row_cycles(row_extent, panels.vectors, cpu, step)
    if panels.last_columns:
        vectors = -(-panels.last_columns // panels.lanes)
        total += _row_cycles(row_extent, vectors, cpu, step)
    return total


def _row_cycles(extent: int | None, vectors: int, cpu: CpuDescription, step: Step) -> float:
    if extent is None:
        tallest = most_rows(vectors, cpu, step)
        return step.cycles(tallest, vectors, cpu.core) / tallest
    return _cycles_of(split_rows(extent, vectors, cpu, step), vectors, cpu, step)
