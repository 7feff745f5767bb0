"""Reductions that no kernel of its own takes: sums, products and extrema over any axes, and more.

Where the innermost axis of the result is also the loads' (or they do not move along it), it goes in
vectors, and the reduction runs around a tile of them that stays in registers; a further axis of the
result is unrolled where it reads the same vectors again, as matrix products do. Where the loads lie
along an axis that is reduced, that axis goes in vectors, each lane a partial result, and these are
combined at the end. Both orders depend on shapes alone: threads change no bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from tvm import ir, tirx

from ingot.targets.cpu.floats import MAXIMUM, MINIMUM, maximum, minimum
from ingot.targets.cpu.kernels.plain.chains import Chain
from ingot.targets.cpu.kernels.plain.elementwise import (
    Known,
    Row,
    element_work,
    nested,
    share_nest,
    share_rows,
    vector_lanes,
    volume,
    with_selects,
)
from ingot.targets.cpu.kernels.plain.nests import Nest, is_slope
from ingot.targets.cpu.kernels.plain.structure import Loop
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, vector_at
from ingot.targets.cpu.kernels.writing.lanes import reduce_lanes
from ingot.targets.cpu.kernels.writing.rewriting import substitute
from ingot.targets.cpu.machine import CpuDescription

# Vectors that accumulate at a time: the latency of an addition times its rate is eight, and two
# loads per cycle feed half of them.
_CHAINS = 4
_MOST_ROWS = 4

Combine = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
# A class of nodes, or the name of an operator that is called.
Operator = Any


@dataclasses.dataclass(frozen=True)
class Reduction:
    """A reduction of one tensor, or of several at once.

    Attributes:
        nest: Its axes, and what the running values are updated to.
        running: Stand for the running values in that.
        initial: What they are at first.
        finish: What is stored in the end.
        results: Stand for the reduced values in that.
        targets: Flat views of the tensors that it is stored to, at the nest's offset.
    """

    nest: Nest
    running: tuple[tirx.Var, ...]
    initial: tuple[tirx.Expr, ...]
    finish: Chain
    results: tuple[tirx.Var, ...]
    targets: tuple[tirx.Buffer, ...]

    def combines(self) -> list[tuple[Operator, Combine]] | None:
        """How the running values are updated: the operators; None if in another manner."""
        found = []
        for running, value in zip(self.running, self.nest.chain.values, strict=True):
            operator, *operands = _taken_apart(value)
            if operator not in _OPERATORS:
                return None
            others = [operand for operand in operands if not operand.same_as(running)]
            if len(others) != 1 or any(
                variable.same_as(other)
                for variable in tirx.analysis.undefined_vars(others[0])
                for other in self.running
            ):
                return None
            found.append((operator, _OPERATORS[operator]))
        return found


def _taken_apart(value: tirx.Expr) -> tuple[Operator, ...]:
    """An operator and its operands."""
    if isinstance(value, ir.Call):
        return (getattr(value.op, "name", ""), *value.args)
    operands = (value.a, value.b) if type(value) in _OPERATORS else ()
    return (type(value), *operands)


_OPERATORS: dict[Operator, Combine] = {
    tirx.Add: lambda a, b: a + b,
    tirx.Mul: lambda a, b: a * b,
    tirx.Max: tirx.Max,
    tirx.Min: tirx.Min,
    MAXIMUM: maximum,
    MINIMUM: minimum,
}
# What leaves the other operand as it is, where that is not any value that is there already.
_NEUTRAL: dict[Operator, int] = {tirx.Add: 0, tirx.Mul: 1}


def write_reduction(emitter: Emitter, reduction: Reduction, cpu: CpuDescription) -> None:
    """Writes the loops of a reduction."""
    reduction = dataclasses.replace(reduction, nest=with_selects(reduction.nest))
    nest = reduction.nest
    lanes = vector_lanes(nest, cpu)
    work = volume(nest.reduced) * element_work(nest, cpu)
    if nest.loops and _goes_in_vectors(nest, nest.loops[-1], lanes):
        _write_tiles(emitter, reduction, lanes, work, cpu)
        return
    partial = _partial_axis(reduction, lanes)

    def element(known: Known) -> None:
        if partial is None:
            _write_element(emitter, reduction, known)
        else:
            _write_partials(emitter, reduction, lanes, known)

    share_nest(emitter, nest.loops, volume(nest.loops) * work, element, cpu)


def _goes_in_vectors(nest: Nest, loop: Loop, lanes: int) -> bool:
    fits = loop.size is None or loop.size >= lanes
    return fits and all(
        is_slope(slope, 0) or is_slope(slope, 1) for slope in nest.slopes(loop.variable)
    )


def _partial_axis(reduction: Reduction, lanes: int) -> Loop | None:
    """The innermost reduced axis, if lanes can have partial results along it."""
    nest = reduction.nest
    if not nest.reduced or reduction.combines() is None:
        return None
    return nest.reduced[-1] if _goes_in_vectors(nest, nest.reduced[-1], lanes) else None


@dataclasses.dataclass
class _Tile:
    """Running values of rows of vectors, while they are updated."""

    emitter: Emitter
    reduction: Reduction
    rows: int
    count: int
    known: Sequence[Known]

    def write(self) -> None:
        """Writes the updates over all reduced axes, and what is stored in the end."""
        emitter, reduction = self.emitter, self.reduction
        running = [
            emitter.allocate("running", [self.rows * self.count], str(initial.ty.dtype))
            for initial in reduction.initial
        ]
        for row in range(self.rows):
            for buffer, initial in zip(running, reduction.initial, strict=True):
                with emitter.vectorized(self.count) as lane:
                    emitter.store(buffer, initial, [index(row * self.count) + lane])
        with nested(emitter, reduction.nest.reduced) as reduced:
            for row in range(self.rows):
                self._update(running, row, reduced)
        for row in range(self.rows):
            self._finish(running, row)

    def _update(self, running: Sequence[tirx.Buffer], row: int, reduced: Known) -> None:
        emitter, reduction = self.emitter, self.reduction
        with emitter.vectorized(self.count) as lane:
            at = index(row * self.count) + lane
            known = {**self._place(row, lane), **reduced}
            for variable, buffer in zip(reduction.running, running, strict=True):
                known[variable] = load(buffer, at)
            values = reduction.nest.chain.emit(emitter, known)
            if len(values) > 1:
                values = [emitter.bind("updated", value) for value in values]
            for buffer, value in zip(running, values, strict=True):
                emitter.store(buffer, value, [at])

    def _finish(self, running: Sequence[tirx.Buffer], row: int) -> None:
        emitter, reduction = self.emitter, self.reduction
        with emitter.vectorized(self.count) as lane:
            known = self._place(row, lane)
            for variable, buffer in zip(reduction.results, running, strict=True):
                known[variable] = load(buffer, index(row * self.count) + lane)
            offset = substitute(reduction.nest.offset, known)
            values = reduction.finish.emit(emitter, known)
            for target, value in zip(reduction.targets, values, strict=True):
                emitter.store(target, value, [offset])

    def _place(self, row: int, lane: tirx.Expr) -> dict[tirx.Var, tirx.Expr]:
        inner = self.reduction.nest.loops[-1].variable
        return {**self.known[row], inner: self.known[row][inner] + lane}


def _write_tiles(
    emitter: Emitter, reduction: Reduction, lanes: int, work: int | tirx.Expr, cpu: CpuDescription
) -> None:
    *outer, inner = reduction.nest.loops
    shared = _shared_axis(reduction.nest)
    rows = 1
    if shared is not None:
        rows = min(_MOST_ROWS if cpu.vector_registers < 32 else 2 * _MOST_ROWS, shared.size or 1)
    vectors = 2 if rows > 1 else _CHAINS
    if inner.size is not None:
        vectors = max(1, min(vectors, inner.size // lanes))
    row = Row(emitter, inner.extent, lanes, lanes * vectors)

    def write(outer: Sequence[Loop], first: Loop | None, rows: int, start: int) -> None:
        def tile(known: Known, at: tirx.Expr, count: int) -> None:
            places = []
            for number in range(rows):
                place = {**known, inner.variable: at}
                if shared is not None and first is not None:
                    place[shared.variable] = known[first.variable] * index(rows) + (start + number)
                places.append(place)
            _Tile(emitter, reduction, rows, count, places).write()

        share_rows(emitter, outer, row, work * rows, tile, cpu)

    if shared is None or shared.size is None:
        write(outer, None, 1, 0)
        return
    done = 0
    for height, count in ((rows, shared.size // rows), (shared.size % rows, 1)):
        if height and count:
            first = Loop(tirx.Var("tile", "int64"), index(count))
            write([first if loop is shared else loop for loop in outer], first, height, done)
            done += height * count


def _shared_axis(nest: Nest) -> Loop | None:
    """An axis of known extent along which some loads stand still and others move."""
    inner = nest.loops[-1]
    vectors = [is_slope(slope, 1) for slope in nest.slopes(inner.variable)]
    for loop in reversed(nest.loops[:-1]):
        still = [is_slope(slope, 0) for slope in nest.slopes(loop.variable)]
        again = any(vector and stays for vector, stays in zip(vectors, still, strict=True))
        if loop.size is not None and again and not all(still):
            return loop
    return None


def _write_element(emitter: Emitter, reduction: Reduction, known: Known) -> None:
    """Writes the code of one element, step by step."""
    nest = reduction.nest
    one = [*nest.loops, Loop(tirx.Var("one", "int64"), index(1))]
    single = dataclasses.replace(reduction, nest=dataclasses.replace(nest, loops=tuple(one)))
    _Tile(emitter, single, 1, 1, [{**known, one[-1].variable: index(0)}]).write()


def _write_partials(emitter: Emitter, reduction: Reduction, lanes: int, known: Known) -> None:
    """Writes the code of one element, a lane for every few steps along the innermost axis."""
    combines = reduction.combines()
    assert combines is not None
    nest = reduction.nest
    *around, inner = nest.reduced
    width = lanes * _CHAINS
    partial = []
    for initial, (operator, _) in zip(reduction.initial, combines, strict=True):
        buffer = emitter.allocate("partial", [width], str(initial.ty.dtype))
        start = (
            tirx.const(_NEUTRAL[operator], initial.ty.dtype) if operator in _NEUTRAL else initial
        )
        for chain in range(_CHAINS):
            with emitter.vectorized(lanes) as lane:
                emitter.store(buffer, start, [index(chain * lanes) + lane])
        partial.append(buffer)

    def update(reduced: Known, at: tirx.Expr, count: int) -> None:
        for part in range(0, count, lanes):
            with emitter.vectorized(min(count, lanes)) as lane:
                place = {**known, **reduced, inner.variable: at + index(part) + lane}
                for variable, buffer in zip(reduction.running, partial, strict=True):
                    place[variable] = load(buffer, index(part) + lane)
                values = nest.chain.emit(emitter, place)
                for buffer, value in zip(partial, values, strict=True):
                    emitter.store(buffer, value, [index(part) + lane])

    with nested(emitter, around) as reduced:
        row = Row(emitter, inner.extent, lanes, width, again=False)
        row.each(lambda at, count: update(reduced, at, count))
    place = dict(known)
    for variable, initial, buffer, (_, combine) in zip(
        reduction.results, reduction.initial, partial, combines, strict=True
    ):
        vectors = [load(buffer, vector_at(chain * lanes, lanes)) for chain in range(_CHAINS)]
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [emitter.bind("partial", combine(a, b)) for a, b in pairs]
        total = reduce_lanes(emitter, vectors[0], lanes, combine)
        place[variable] = emitter.bind("total", combine(initial, total))
    offset = substitute(nest.offset, place)
    for target, value in zip(reduction.targets, reduction.finish.emit(emitter, place), strict=True):
        emitter.store(target, value, [offset])
