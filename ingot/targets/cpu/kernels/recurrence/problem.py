"""What a recurrence kernel is made for: the cell, its sizes, and how units lie in memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ingot.targets.cpu.kernels.writing.dimension import Dim
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.relax.recurrence import Recurrence

TALLEST = 6
"""Sequences of a tile at most: it takes four vectors of weights with 32 registers, two with 16."""

# Accumulators of a row from which on the load of its value is less than an eighth of all loads.
_WORTH_A_LOAD = 8
# Vectors of units side by side; LLVM takes values of three vectors apart.
_VECTORS = (4, 2, 1)


@dataclasses.dataclass(frozen=True)
class Units:
    """How the hidden units of a cell lie in memory.

    Units are padded to whole vectors and cut into groups of some vectors. Of each group all gates
    follow each other, so that a step's inputs to a group, and each row of its weights, is one run
    of memory.

    Attributes:
        hidden: Number of units.
        lanes: Units of a vector.
        vectors: Vectors of a group.
    """

    hidden: int
    lanes: int
    vectors: int

    @classmethod
    def choose(cls, problem: Recurrence, hidden: int, batch: Dim, cpu: CpuDescription) -> Units:
        """Chooses groups that divide the units.

        They hold enough accumulators for a tile's rows to hide the latency of a multiply-add and
        the loads of values, and no more than a tile keeps in registers, so that it reads each row
        of weights whole.
        """
        enough = max(cpu.core.chains, _WORTH_A_LOAD)
        gates = [len(each) for each in passes(problem)]
        vectors = -(-hidden // cpu.float_lanes)
        rows = min(batch, TALLEST) if isinstance(batch, int) else 1
        widest = widest_tile(max(rows, 1), cpu)
        fitting = (
            count
            for count in _VECTORS
            if vectors % count == 0
            and (count == 1 or (min(gates) * count <= enough and max(gates) * count <= widest))
        )
        return cls(hidden, cpu.float_lanes, next(fitting))

    @property
    def width(self) -> int:
        """Units of a group."""
        return self.vectors * self.lanes

    @property
    def groups(self) -> int:
        """Number of groups."""
        return -(-self.hidden // self.width)

    @property
    def padded(self) -> int:
        """Units with the padding."""
        return self.groups * self.width

    @property
    def last(self) -> int:
        """Units of the last group that are not padding."""
        return self.hidden - (self.groups - 1) * self.width

    def order(self, gates: Sequence[int]) -> npt.NDArray[np.int64]:
        """Returns which row of a direction's weights belongs to each place in memory.

        Args:
            gates: Which of the cell's gates are there.

        Returns:
            [groups · gates · width] of gate · hidden + unit, or -1 for padding.
        """
        unit = np.arange(self.padded).reshape(self.groups, 1, self.width)
        rows = unit + self.hidden * np.asarray(gates).reshape(1, -1, 1)
        return np.where(unit < self.hidden, rows, -1).reshape(-1)


def widest_tile(rows: int, cpu: CpuDescription) -> int:
    """Returns the vectors of weights whose products with some rows stay in registers.

    Weights that are used once are read from memory by the multiply-add itself.
    """
    weights = 1 if rows > 1 else 0
    return max(1, (cpu.vector_registers - 2) // (rows + weights))


def passes(problem: Recurrence) -> tuple[tuple[int, ...], ...]:
    """Returns the gates of each product with the recurrent weights in a step.

    Where a GRU resets the state before the product of its last gate, that product is a second one.
    """
    if problem.cell == "GRU" and not problem.linear_before_reset:
        return ((0, 1), (2,))
    return (tuple(range(problem.gates)),)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A recurrence to make a kernel for.

    Attributes:
        cell: What is computed.
        steps: Time steps.
        batch: Sequences.
        units: How the units lie.
        optional: Shapes of the operands that may be left out, where they are given: ``lengths``,
            ``initial_h``, ``initial_c``, ``peepholes`` (as [directions, 3 · padded], no matter of
            groups) and ``reset_bias`` [directions, padded].
    """

    cell: Recurrence
    steps: Dim
    batch: Dim
    units: Units
    optional: Mapping[str, tuple[Dim, ...]] = dataclasses.field(default_factory=dict)

    @property
    def projected(self) -> int:
        """Values that a step's input is projected to, of all directions."""
        return self.cell.directions * self.cell.gates * self.units.padded

    def by_step(self, *rest: Dim) -> tuple[Dim, ...]:
        """Returns dimensions that begin with steps and batch, in the cell's order."""
        if self.cell.batch_first:
            return (self.batch, self.steps, *rest)
        return (self.steps, self.batch, *rest)

    def by_direction(self, *rest: Dim) -> tuple[Dim, ...]:
        """Returns dimensions that begin with directions and batch, in the cell's order."""
        if self.cell.batch_first:
            return (self.batch, self.cell.directions, *rest)
        return (self.cell.directions, self.batch, *rest)

    def operations(self) -> int | None:
        """Operations of the products, None where a dimension is symbolic."""
        sizes = [size for size in (self.steps, self.batch) if isinstance(size, int)]
        if len(sizes) < 2:
            return None
        weights = self.cell.directions * self.cell.gates * self.units.hidden**2
        return 2 * math.prod(sizes) * weights
