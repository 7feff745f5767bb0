"""LSTM, GRU and RNN over all time steps in one kernel.

The products of the inputs and W are one matmul before. What is left has to go step by step: the
product of the last state and R, the gates, the new state. A task takes some sequences of one
direction through all steps, so that nothing is launched or waited for between them.

* R lies as [group of units][K][gate][unit] (see ``recurrence_problem``): a tile of some sequences x
  the group's gates accumulates in registers and reads the weights as one stream. Each step reads R
  again, out of the cache that holds it, and that bounds a single sequence: a vector of weights is
  one multiply-add, and comes from the second-level cache in two cycles.
* The sums of a group go through a few hundred bytes of the first-level cache to the gates, which
  are computed for all its units side by side, while the next group's products are under way.
* The state is kept twice, of this step and of the last one; an LSTM's cell state in place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.recurrence.cells import CELLS, Cell
from ingot.targets.cpu.kernels.recurrence.problem import TALLEST, Problem, passes, widest_tile
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators
from ingot.targets.cpu.kernels.tiling.tiles import Run, split_evenly
from ingot.targets.cpu.kernels.writing.dimension import Dim
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    index,
    load,
    prim_func,
    splat,
    vector_at,
)
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

OPTIONAL = ("lengths", "initial_h", "initial_c", "peepholes", "reset_bias")
"""The operands that may be left out, in the order in which the kernel takes them."""

# Of units whose gates are evaluated side by side: each takes several registers per gate.
_VECTORS_OF_GATES = 2


def recurrence(problem: Problem, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the kernel.

    Its parameters are the projected inputs [steps, batch, directions · gates · padded units] (or
    batch first), the weights of each pass [directions, groups, hidden, gates · width], those of
    ``OPTIONAL`` that the problem has, and the results ``Y``, ``Y_h`` and, of an LSTM, ``Y_c``.
    """
    return _Kernel(problem, cpu).function()


class _Kernel:
    """The kernel's body while it is written, and what its steps share."""

    direction: tirx.Var
    first: tirx.Var
    rows: Dim
    sums: tirx.Buffer
    state: tirx.Buffer
    kept: dict[str, tirx.Buffer]

    def __init__(self, problem: Problem, cpu: CpuDescription) -> None:
        self.problem, self.cpu = problem, cpu
        self.cell, self.units = problem.cell, problem.units
        self.passes = passes(problem.cell)
        self.emitter = Emitter()
        self.blocks, self.most_rows = self._blocks()
        directions, units = self.cell.directions, self.units
        self.projected = _float_buffer("projected", problem.by_step(problem.projected))
        self.weights = [
            _float_buffer(
                "weights", (directions, units.groups, units.hidden, len(gates) * units.width)
            )
            for gates in self.passes
        ]
        self.optional = {
            name: tirx.decl_buffer(
                [index(size) for size in problem.optional[name]],
                "int32" if name == "lengths" else "float32",
                name,
            )
            for name in OPTIONAL
            if name in problem.optional
        }
        last = problem.by_direction(units.hidden)
        every = problem.by_step(directions, units.hidden)
        if not self.cell.batch_first:
            every = (problem.steps, *last)
        shapes = {"Y": every, "Y_h": last, "Y_c": last}
        self.results = {
            name: _float_buffer(name, shapes[name]) for name in list(shapes)[: self.cell.results]
        }

    def _blocks(self) -> tuple[Dim, int]:
        """Returns how many parts the sequences are cut into, and the most of a part."""
        batch = self.problem.batch
        if not isinstance(batch, int):
            return (batch + (TALLEST - 1)) // TALLEST, TALLEST
        wanted = -(-max(self.cpu.thread_counts) // self.cell.directions)
        rows = max(-(-batch // wanted), min(batch, self._fewest_rows()), 1)
        return -(-batch // rows), rows

    def _fewest_rows(self) -> int:
        """Returns the sequences of a task below which it takes no less time.

        It waits for the weights then: a vector of them takes about as long to come from a cache as
        the multiply-adds of so many rows.
        """
        weights = 4 * self.cell.gates * self.units.hidden * self.units.padded
        core = self.cpu.core
        near = weights <= core.resident_bytes
        rate = core.l2_bytes_per_cycle if near else core.l3_bytes_per_cycle
        return core.multiply_adds_of(self.cpu.vector_bytes, rate)

    def function(self) -> tirx.PrimFunc:
        operations = self.problem.operations()
        tasks = self.cell.directions * self.blocks
        if operations is None:
            # Two copies of so much code would cost more than a parallel loop of little work.
            with self.emitter.parallel(tasks, "task") as task:
                self._task(task)
        else:
            share_tasks(self.emitter, tasks, operations, self._task, self.cpu)
        return prim_func(
            [self.projected, *self.weights, *self.optional.values(), *self.results.values()],
            self.emitter.body(),
            family=self.cell.cell.lower(),
            operations=operations,
        )

    def _task(self, task: tirx.Expr) -> None:
        emitter, units, most = self.emitter, self.units, self.most_rows
        blocks = index(self.blocks)
        self.direction = emitter.bind("direction", task // blocks)
        self.first = emitter.bind("first", task % blocks * most)
        batch = self.problem.batch
        even = isinstance(batch, int) and batch % most == 0
        left = index(batch) - self.first
        self.rows = most if even else emitter.bind("rows", tirx.min(left, index(most)))
        widest = max(len(gates) for gates in self.passes) * units.width
        self.sums = emitter.allocate("sums", (most, widest))
        self.state = emitter.allocate("state", (2, most, units.padded))
        names = CELLS[self.cell.cell].kept(self.cell)
        self.kept = {name: emitter.allocate(name, (most, units.padded)) for name in names}
        with emitter.loop(self.rows, "row") as row:
            self._begin("initial_h", self.state, [0, row], self.first + row)
            if "cell" in self.kept:
                self._begin("initial_c", self.kept["cell"], [row], self.first + row)
        with emitter.loop(self.problem.steps, "step") as step:
            self._step(step)
        last = emitter.bind("last", index(self.problem.steps) % 2)
        with emitter.loop(self.rows, "row") as row:
            self._finish("Y_h", self.state, [last, row], self.first + row)
            if "cell" in self.kept:
                self._finish("Y_c", self.kept["cell"], [row], self.first + row)

    # The first state and the last.

    def _begin(
        self, name: str, target: tirx.Buffer, place: Sequence[Dim], sequence: tirx.Expr
    ) -> None:
        """Sets the state of a sequence to the one that is given, or to zero."""
        lanes = self.units.lanes
        with self.emitter.loop(self.units.padded // lanes, "vector") as vector:
            at = [*place, vector_at(vector * lanes, lanes)]
            self.emitter.store(target, splat(0.0, lanes), at)
        source = self.optional.get(name)
        if source is None:
            return
        for unit, lanes in self._each_unit():
            value = load(source, *self._last_place(sequence), vector_at(unit, lanes))
            self.emitter.store(target, value, [*place, vector_at(unit, lanes)])

    def _finish(
        self, name: str, source: tirx.Buffer, place: Sequence[Dim], sequence: tirx.Expr
    ) -> None:
        """Writes the last state of a sequence; that of an empty one is zero."""
        length = self._length(sequence)
        for unit, lanes in self._each_unit():
            value = load(source, *place, vector_at(unit, lanes))
            if length is not None:
                value = tirx.Select(length > 0, value, splat(0.0, lanes))
            at = [*self._last_place(sequence), vector_at(unit, lanes)]
            self.emitter.store(self.results[name], value, at)

    def _last_place(self, sequence: tirx.Expr) -> list[tirx.Expr]:
        place = [self.direction, sequence]
        return place[::-1] if self.cell.batch_first else place

    def _each_unit(self) -> Iterator[tuple[Dim, int]]:
        """Opens a loop over whole vectors of units; those left over come in narrower vectors."""
        hidden, lanes = self.units.hidden, self.units.lanes
        if hidden >= lanes:
            with self.emitter.loop(hidden // lanes, "vector") as vector:
                yield vector * lanes, lanes
        yield from _narrow_vectors(hidden // lanes * lanes, hidden % lanes)

    def _length(self, sequence: tirx.Expr) -> tirx.Var | None:
        """Returns a sequence's length, drawn within the steps; None where all have all steps."""
        lengths = self.optional.get("lengths")
        if lengths is None:
            return None
        length = tirx.Cast("int64", load(lengths, sequence))
        within = tirx.max(tirx.min(length, index(self.problem.steps)), index(0))
        return self.emitter.bind("length", within)

    # A step.

    def _step(self, step: tirx.Expr) -> None:
        before = self.emitter.bind("before", step % 2)
        for number in range(len(self.passes)):
            with self.emitter.loop(self.units.groups, "group") as group:
                self._products(number, group, before)
                with self.emitter.loop(self.rows, "row") as row:
                    self._row(number, group, row, step)

    def _products(self, number: int, group: tirx.Expr, before: tirx.Var) -> None:
        """Multiplies the state of all rows with a group's weights, into ``sums``."""
        lanes, weights = self.units.lanes, self.weights[number]
        state, leading = (self.kept["reset"], []) if number else (self.state, [before])
        for first, rows, vectors in self._tiles(len(self.passes[number]) * self.units.vectors):
            accumulators = Accumulators(self.emitter, rows, len(vectors), lanes)

            def element(row: int, k: tirx.Expr, first: tirx.Expr = first) -> tirx.Expr:
                return load(state, *leading, first + index(row), k)

            def vector(number: int, k: tirx.Expr, start: int = vectors.start) -> tirx.Expr:
                column = vector_at((start + number) * lanes, lanes)
                return load(weights, self.direction, group, k, column)

            with self.emitter.loop(self.units.hidden, "k") as k:
                accumulators.step(k, element, vector)
            column = vectors.start * lanes
            accumulators.exchange(self.sums, [first], store=True, column=column)

    def _tiles(self, vectors: int) -> Iterator[tuple[tirx.Expr, int, range]]:
        """Opens a loop over tiles, of some rows and some of the vectors, in a machine function.

        Yields:
            A tile's first row, the number of its rows, and its vectors.
        """
        for height in self._heights():
            known = isinstance(self.rows, int)
            condition = index(self.rows).equal(index(height))
            with contextlib.nullcontext() if known else self.emitter.when(condition):
                for run in split_evenly(height, -(-height // TALLEST)):
                    for part in self._parts(run, vectors):
                        with (
                            self.emitter.function("products"),
                            self.emitter.loop(run.count, "tile") as tile,
                        ):
                            yield tile * index(run.rows) + index(run.start), run.rows, part

    def _heights(self) -> Sequence[int]:
        """The numbers of rows that a task can have."""
        if isinstance(self.rows, int):
            return [self.rows]
        if isinstance(self.problem.batch, int):
            return [self.most_rows, self.problem.batch % self.most_rows]
        return range(1, self.most_rows + 1)

    def _parts(self, run: Run, vectors: int) -> Iterator[range]:
        """Cuts a group's vectors into as few parts as the registers allow beside a run's rows."""
        widest = widest_tile(run.rows, self.cpu)
        for part in split_evenly(vectors, -(-vectors // widest)):
            for start in range(part.start, part.start + part.count * part.rows, part.rows):
                yield range(start, start + part.rows)

    def _row(self, number: int, group: tirx.Expr, row: tirx.Expr, step: tirx.Expr) -> None:
        """Makes a group's new states of one row's sums."""
        emitter, units = self.emitter, self.units
        sequence = emitter.bind("sequence", self.first + row)
        length = self._length(sequence)
        active = None if length is None else emitter.bind("active", step < length)
        time = emitter.bind("time", self._time(step, length))
        # More vectors side by side would not stay in registers.
        width = min(units.vectors, _VECTORS_OF_GATES) * units.lanes
        with emitter.loop(units.width // width, "part") as part:
            cell = Cell(
                emitter=emitter,
                problem=self.problem,
                gates=self.passes[number],
                group=group,
                offset=part * index(width),
                width=width,
                sums=(self.sums, [row]),
                projected=(
                    self.projected,
                    [sequence, time] if self.cell.batch_first else [time, sequence],
                ),
                state=(self.state, [step % 2, row]),
                kept={name: (buffer, [row]) for name, buffer in self.kept.items()},
                optional=self.optional,
                direction=self.direction,
                active=active,
            )
            new = CELLS[self.cell.cell].step(cell, number)
            if new is None:
                return
            if active is not None:
                new = emitter.bind("held", tirx.Select(active, new, cell.state_before()))
            after = [(step + 1) % 2, row]
            emitter.store(self.state, new, [*after, vector_at(cell.unit, width)])
            place = [sequence, time, self.direction]
            if not self.cell.batch_first:
                place = [time, self.direction, sequence]
            self._write(place, after, new, cell)

    def _write(
        self,
        place: Sequence[tirx.Expr],
        after: Sequence[tirx.Expr],
        new: tirx.Var,
        cell: Cell,
    ) -> None:
        """Writes new states to Y; steps beyond a sequence's end are zero."""
        emitter, hidden, width = self.emitter, self.units.hidden, cell.width

        def write(unit: Dim, value: tirx.Expr, lanes: int) -> None:
            if cell.active is not None:
                value = tirx.Select(cell.active, value, splat(0.0, lanes))
            emitter.store(self.results["Y"], value, [*place, vector_at(unit, lanes)])

        if hidden % width == 0:
            write(cell.unit, new, width)
            return
        full = hidden // width * width
        if full:
            with emitter.when(cell.unit < full):
                write(cell.unit, new, width)
        with emitter.when(cell.unit.equal(index(full))):
            for unit, lanes in _narrow_vectors(full, hidden % width):
                write(unit, load(self.state, *after, vector_at(unit, lanes)), lanes)

    def _time(self, step: tirx.Expr, length: tirx.Var | None) -> tirx.Expr:
        """Returns the time of a step: in reverse, a sequence begins with its last one."""
        if not any(self.cell.reverse):
            return step
        end = index(self.problem.steps) if length is None else length
        backwards = end - 1 - step
        if length is not None:
            backwards = tirx.Select(step < length, backwards, step)
        if all(self.cell.reverse):
            return backwards
        return tirx.Select(self.direction > 0, backwards, step)


def _float_buffer(name: str, shape: Sequence[Dim]) -> tirx.Buffer:
    return tirx.decl_buffer([index(size) for size in shape], "float32", name)


def _narrow_vectors(start: int, count: int) -> Iterator[tuple[int, int]]:
    """Covers some units by vectors of powers of two: the first unit and the lanes of each."""
    for bit in reversed(range(count.bit_length())):
        if count >> bit & 1:
            yield start, 1 << bit
            start += 1 << bit
