"""Interleaving the phases of a transposed convolution: a copy of runs of channels.

Phases are images channels last, of which several that lie next to each other share a tensor. Each
row of the result is made of one row of the tensors that hold its phases; along it the phases of a
tensor lie in order already, so that a run is as long as they are. Threads share the rows.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from tvm import sym, tirx

from ingot.targets.cpu.kernels.rows.rows import Line, flat
from ingot.targets.cpu.kernels.writing.dimension import Dim, product
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

# Of the widest type.
_ELEMENT_BYTES = 4


@dataclasses.dataclass(frozen=True)
class InterleavedAxis:
    """An axis along which phases are interleaved.

    Attributes:
        stride: Number of phases.
        skip: Elements of the interleaved phases that the result begins behind.
        source: Elements of each phase.
        result: Elements of the result.
        counts: How many phases each tensor holds, in order.
    """

    stride: int
    skip: int
    source: Dim
    result: Dim
    counts: tuple[int, ...]

    def bounds(self, phase: int) -> tuple[int, Dim]:
        """The first element of a phase that the result has, and one more than the last."""
        last = (self.result + (self.skip - phase + self.stride - 1)) // self.stride
        return max(0, -((phase - self.skip) // self.stride)), last


@dataclasses.dataclass(frozen=True)
class Interleaving:
    """Phases to interleave.

    Attributes:
        batch: Number of images.
        axes: The spatial axes.
        groups: Groups of channels; phases lie within each.
        filters: Channels of a group.
        dtype: Of the elements.
    """

    batch: Dim
    axes: tuple[InterleavedAxis, ...]
    groups: int
    filters: int
    dtype: str


def interleave(problem: Interleaving, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the kernel.

    Its parameters are the tensors [batch, source sizes, groups * phases * filters], for each
    combination of the axes' tensors one, those of the last axis first; and the result [batch,
    result sizes, groups * filters].
    """
    combinations = list(itertools.product(*(range(len(axis.counts)) for axis in problem.axes)))
    sizes = [axis.source for axis in problem.axes]
    sources = []
    for number, combination in enumerate(combinations):
        phases = product(
            axis.counts[at] for axis, at in zip(problem.axes, combination, strict=True)
        )
        columns = problem.groups * phases * problem.filters
        shape = (problem.batch, *sizes, columns)
        sources.append(tirx.decl_buffer(list(map(index, shape)), problem.dtype, f"phases_{number}"))
    results = [axis.result for axis in problem.axes]
    shape = (problem.batch, *results, problem.groups * problem.filters)
    result = tirx.decl_buffer(list(map(index, shape)), problem.dtype, "result")
    emitter = Emitter()
    writer = _Writer(emitter, problem, [flat(emitter, each) for each in sources])
    writer.target = flat(emitter, result)
    rows = product(shape[:-2])
    share_tasks(
        emitter, rows, product(shape) * _ELEMENT_BYTES * cpu.operations_of_a_byte, writer.row, cpu
    )
    return prim_func([*sources, result], emitter.body(), family="interleave", operations=0)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where to copy from and to.

    Attributes:
        source: The tensor.
        row: The first pixel of the tensor's row.
        at: Which of the outer axes' phases in the tensor.
        outer: How many of these there are.
        phases: The inner axis's phases in the tensor.
        target: The first element of the result's row.
    """

    source: tirx.Buffer
    row: tirx.Expr
    at: tirx.Expr
    outer: int
    phases: range
    target: tirx.Expr


class _Writer:
    target: tirx.Buffer

    def __init__(
        self, emitter: Emitter, problem: Interleaving, sources: Sequence[tirx.Buffer]
    ) -> None:
        self._emitter, self._problem, self._sources = emitter, problem, sources
        *self._outer, self._inner = problem.axes

    def row(self, row: tirx.Expr) -> None:
        """Writes the code of one row of the result."""
        emitter, problem = self._emitter, self._problem
        width = problem.groups * problem.filters
        target = emitter.bind("target_row", row * self._inner.result * width)
        places: list[tirx.Expr] = []
        for axis in reversed(self._outer):
            places.insert(0, row % index(axis.result))
            row = row // index(axis.result)
        before: tirx.Expr = row
        phases = []
        for axis, place in zip(self._outer, places, strict=True):
            shifted = place + index(axis.skip)
            before = before * index(axis.source) + shifted // index(axis.stride)
            phases.append(emitter.bind("phase", shifted % index(axis.stride)))
        source_row = emitter.bind("source_row", before * index(self._inner.source))
        inner = len(self._inner.counts)
        chosen = itertools.product(*(range(len(axis.counts)) for axis in self._outer))
        for number, combination in enumerate(chosen):
            sources = self._sources[number * inner : (number + 1) * inner]
            inside, at, count = self._within(combination, phases)
            if inside is None:
                self._copy(sources, source_row, at, count, target)
            else:
                with emitter.when(inside):
                    self._copy(sources, source_row, at, count, target)

    def _within(
        self, combination: Sequence[int], phases: Sequence[tirx.Expr]
    ) -> tuple[tirx.Expr | None, tirx.Expr, int]:
        """Whether phases are those of some tensors, which of theirs they are, and of how many."""
        conditions, at, total = [], index(0), 1
        for axis, tensor, phase in zip(self._outer, combination, phases, strict=True):
            first, count = sum(axis.counts[:tensor]), axis.counts[tensor]
            if len(axis.counts) > 1:
                conditions.append(tirx.all(phase >= first, phase < first + count))
            at = at * index(count) + (phase - index(first))
            total *= count
        return (tirx.all(*conditions) if conditions else None), at, total

    def _copy(
        self,
        sources: Sequence[tirx.Buffer],
        row: tirx.Expr,
        at: tirx.Expr,
        outer: int,
        target: tirx.Expr,
    ) -> None:
        """Copies what a row of the result has of the phases ``at`` of the outer axes."""
        first = 0
        for source, count in zip(sources, self._inner.counts, strict=True):
            place = _Place(source, row, at, outer, range(first, first + count), target)
            self._copy_phases(place)
            first += count

    def _copy_phases(self, place: _Place) -> None:
        """Copies a tensor's phases: one by one, or run by run where they lie in order."""
        bounds = [self._inner.bounds(phase) for phase in place.phases]
        low, high = max(low for low, _ in bounds), _least([high for _, high in bounds])
        if self._problem.groups > 1 or len(place.phases) == 1:
            for phase, (begin, end) in zip(place.phases, bounds, strict=True):
                self._copy_run(place, [phase], begin, end)
            return
        # At its ends the result may have some of the phases only.
        common = index(high) > index(low)
        with self._emitter.when(common):
            for phase, (begin, end) in zip(place.phases, bounds, strict=True):
                self._copy_run(place, [phase], begin, low)
                self._copy_run(place, [phase], high, end)
            self._copy_run(place, place.phases, low, high)
        if not _is_true(common):
            with self._emitter.when(tirx.Not(common)):
                for phase, (begin, end) in zip(place.phases, bounds, strict=True):
                    self._copy_run(place, [phase], begin, end)

    def _copy_run(self, place: _Place, phases: Sequence[int], start: Dim, stop: Dim) -> None:
        """Copies elements of phases that lie next to each other, of every group of channels."""
        if sym.Analyzer().can_prove_equal(index(start), index(stop)):
            return
        stride, filters, groups = self._inner.stride, self._problem.filters, self._problem.groups
        columns = groups * place.outer * len(place.phases) * filters
        with self._emitter.loop(stop - start, "x", start=start) as x:
            for group in range(groups):
                column = (index(group) * place.outer + place.at) * len(place.phases)
                column = column + index(phases[0] - place.phases[0])
                read = (place.row + x) * columns + column * filters
                put = place.target + (x * stride + (phases[0] - self._inner.skip)) * (
                    groups * filters
                )
                self._run(place.source, read, put + index(group * filters), len(phases) * filters)

    def _run(self, source: tirx.Buffer, read: tirx.Expr, put: tirx.Expr, width: int) -> None:
        read, put = self._emitter.bind("read", read), self._emitter.bind("put", put)
        line = Line(self._emitter, width, read)

        def copy(at: tirx.Expr, lanes: int) -> None:
            value = load(source, vector_at(at, lanes))
            self._emitter.store(self.target, value, [vector_at(put + (at - read), lanes)])

        line.each(copy)


def _least(sizes: Sequence[Dim]) -> Dim:
    if all(isinstance(size, int) for size in sizes):
        return min(sizes)
    least = sizes[0]
    for size in sizes[1:]:
        least = tirx.min(index(least), index(size))
    return least


def _is_true(condition: tirx.Expr) -> bool:
    return bool(sym.Analyzer().can_prove(condition))
