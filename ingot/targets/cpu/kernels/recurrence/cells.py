"""The cells of recurrent layers: what a step makes of its sums, for some units of one sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

from tvm import tirx

from ingot.targets.cpu.kernels.recurrence.problem import Problem
from ingot.targets.cpu.kernels.writing.activations import activate, clamp
from ingot.targets.cpu.kernels.writing.dimension import Dim
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, splat, vector_at
from ingot.targets.relax.recurrence import Recurrence

# A buffer, and the indices before the one of the unit.
Rows: TypeAlias = "tuple[tirx.Buffer, Sequence[Dim]]"


@dataclasses.dataclass(frozen=True)
class Cell:
    """Some units of one sequence at one step.

    Attributes:
        emitter: Where the statements go.
        problem: The recurrence.
        gates: The gates of this pass.
        group: The group that they belong to.
        offset: The first of them, of the group.
        width: Their number.
        sums: Their products with R, [gate of the pass][unit].
        projected: Their inputs' products with W, [direction][group][gate][unit].
        state: Their state before the step.
        kept: What lasts from pass to pass or step to step, by name.
        optional: The optional operands that there are.
        direction: The direction.
        active: Whether the sequence has this step; None where all have.
    """

    emitter: Emitter
    problem: Problem
    gates: Sequence[int]
    group: tirx.Expr
    offset: tirx.Expr
    width: int
    sums: Rows
    projected: Rows
    state: Rows
    kept: Mapping[str, Rows]
    optional: Mapping[str, tirx.Buffer]
    direction: tirx.Var
    active: tirx.Var | None

    @property
    def unit(self) -> tirx.Expr:
        """The first unit."""
        return self.group * index(self.problem.units.width) + self.offset

    def product(self, gate: int) -> tirx.Expr:
        """Returns a gate's product of state and R."""
        start = self.gates.index(gate) * self.problem.units.width
        return self._load(self.sums, index(start) + self.offset)

    def input(self, gate: int) -> tirx.Expr:
        """Returns a gate's product of input and W, the biases added."""
        gates, units = self.problem.cell.gates, self.problem.units
        start = (self.direction * index(units.groups) + self.group) * index(gates) + index(gate)
        return self._load(self.projected, start * index(units.width) + self.offset)

    def state_before(self) -> tirx.Expr:
        """Returns the state before the step."""
        return self._load(self.state, self.unit)

    def read(self, name: str) -> tirx.Var:
        """Returns what was kept."""
        return self.bind(name, self._load(self.kept[name], self.unit))

    def keep(self, name: str, value: tirx.Expr) -> None:
        """Keeps a value for later."""
        buffer, leading = self.kept[name]
        self.emitter.store(buffer, value, [*leading, vector_at(self.unit, self.width)])

    def operand(self, name: str, number: int = 0) -> tirx.Expr:
        """Returns the units' part of an optional operand, [direction][number][padded units]."""
        start = index(number * self.problem.units.padded) + self.unit
        return self._load((self.optional[name], [self.direction]), start)

    def activated(self, number: int, value: tirx.Expr, *, clipped: bool = True) -> tirx.Var:
        """Returns the cell's first, second or third function of a value."""
        cell = self.problem.cell
        if clipped and cell.clip is not None:
            value = clamp(value, cell.clip)
        functions = [functions[number] for functions in cell.activations]
        x = self.bind("x", value)
        result = activate(functions[0], x)
        if functions[0] != functions[-1]:
            result = tirx.Select(self.direction > 0, activate(functions[-1], x), result)
        return self.bind("activated", result)

    def one(self) -> tirx.Expr:
        """Returns ones."""
        return splat(1.0, self.width)

    def bind(self, name: str, value: tirx.Expr) -> tirx.Var:
        """Evaluates an expression here, once."""
        return self.emitter.bind(name, value)

    def _load(self, rows: Rows, start: Dim) -> tirx.Expr:
        buffer, leading = rows
        return load(buffer, *leading, vector_at(start, self.width))


class CellKind(Protocol):
    """A kind of cell."""

    @staticmethod
    def kept(cell: Recurrence) -> Sequence[str]:
        """Returns the names of what is kept beside the state."""

    @staticmethod
    def step(cell: Cell, number: int) -> tirx.Var | None:
        """Emits a pass's part of a step, given its number; returns the new state after the last."""


class Lstm:
    """LSTM (Hochreiter and Schmidhuber, 1997; with peepholes: Gers and Schmidhuber, 2000)."""

    @staticmethod
    def kept(cell: Recurrence) -> Sequence[str]:
        """Returns the names of what is kept beside the state."""
        del cell
        return ("cell",)

    @staticmethod
    def step(cell: Cell, number: int) -> tirx.Var:
        """Emits a step: gates i, o, f and the candidate c."""
        del number
        peephole = "peepholes" in cell.optional
        before = cell.read("cell")

        def gate(gate: int, seen: tirx.Expr) -> tirx.Var:
            value = cell.product(gate) + cell.input(gate)
            if peephole:
                value = value + seen * cell.operand("peepholes", gate)
            return cell.activated(0, value)

        enters = gate(0, before)
        coupled = cell.problem.cell.input_forget
        stays = cell.bind("stays", cell.one() - enters) if coupled else gate(2, before)
        candidate = cell.activated(1, cell.product(3) + cell.input(3))
        new = cell.bind("new", stays * before + enters * candidate)
        leaves = gate(1, new)
        # ONNX Runtime does not clip the cell state.
        state = cell.bind("state", leaves * cell.activated(2, new, clipped=False))
        held = new if cell.active is None else tirx.Select(cell.active, new, before)
        cell.keep("cell", held)
        return state


class Gru:
    """GRU (Cho et al., 2014): gates z and r and the candidate h."""

    @staticmethod
    def kept(cell: Recurrence) -> Sequence[str]:
        """Returns the names of what is kept beside the state."""
        return () if cell.linear_before_reset else ("update", "reset")

    @staticmethod
    def step(cell: Cell, number: int) -> tirx.Var | None:
        """Emits a step, or one of its two passes where the state is reset before a product."""
        if number == 1:
            return Gru._mix(cell, cell.read("update"), cell.product(2))
        update = cell.activated(0, cell.product(0) + cell.input(0))
        reset = cell.activated(0, cell.product(1) + cell.input(1))
        if not cell.problem.cell.linear_before_reset:
            cell.keep("update", update)
            cell.keep("reset", reset * cell.state_before())
            return None
        product = cell.product(2)
        if "reset_bias" in cell.optional:
            product = product + cell.operand("reset_bias")
        return Gru._mix(cell, update, reset * product)

    @staticmethod
    def _mix(cell: Cell, update: tirx.Var, product: tirx.Expr) -> tirx.Var:
        candidate = cell.activated(1, product + cell.input(2))
        mixed = (cell.one() - update) * candidate + update * cell.state_before()
        return cell.bind("state", mixed)


class Rnn:
    """The plain recurrent layer (Elman, 1990)."""

    @staticmethod
    def kept(cell: Recurrence) -> Sequence[str]:
        """Returns the names of what is kept beside the state."""
        del cell
        return ()

    @staticmethod
    def step(cell: Cell, number: int) -> tirx.Var:
        """Emits a step."""
        del number
        return cell.activated(0, cell.product(0) + cell.input(0))


CELLS: Mapping[str, type[CellKind]] = {"LSTM": Lstm, "GRU": Gru, "RNN": Rnn}
