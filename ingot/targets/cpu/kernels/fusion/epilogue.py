"""What follows an anchor in its fused prim func: bias, activation, residual add.

FuseTIR leaves one block per operator. An epilogue is the chain of element-wise blocks behind the
anchor, as expressions of one accumulator, to be evaluated on registers where a tile is stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import tvm_ffi
from tvm import s_tir, tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.floats import bindable
from ingot.targets.cpu.kernels.anchors import Anchor
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, vector_at
from ingot.targets.cpu.kernels.writing.narrowing import NARROWED_LANES, narrow, narrowed
from ingot.targets.cpu.kernels.writing.rewriting import rewrite_loads, substitute
from ingot.targets.cpu.machine import CACHE_LINE_BYTES

AnyAnchor = TypeVar("AnyAnchor", bound=Anchor, covariant=True)


@dataclasses.dataclass(frozen=True)
class Epilogue:
    """An element-wise function of an accumulator at a position of the result.

    Attributes:
        accumulator: Stands for the accumulated value.
        coordinates: Stand for the position, one per axis.
        steps: Values in the order in which they are computed, each with what stands for it.
        result: Where the last of them is stored.
        place: Returns the indices in the result for a position; by default the position itself.
        packs: Whether the processor narrows vectors to bytes as :mod:`narrowing` has it.
    """

    accumulator: tirx.Var
    coordinates: tuple[tirx.Var, ...]
    steps: tuple[tuple[tirx.Var, tirx.Expr], ...]
    result: tirx.Buffer
    place: Callable[[list[tirx.Expr]], list[tirx.Expr]] = list
    packs: bool = False

    def store(
        self,
        emitter: Emitter,
        accumulators: tirx.Buffer,
        offset: int | tirx.Expr,
        position: Sequence[tirx.Expr],
        *,
        lanes: int,
        valid: int,
    ) -> None:
        """Stores one vector of accumulators.

        Args:
            emitter: Where the statements go.
            accumulators: A buffer of one axis.
            offset: Where in it the vector begins.
            position: The position of the vector's first element; it runs along the last axis.
            lanes: Elements of the vector.
            valid: How many of them belong to the result.
        """
        first = 0
        for wide in _powers_of_two(max(0, min(valid, lanes)), lanes):
            place = [*position[:-1], position[-1] + index(first)]
            self._store(emitter, accumulators, index(offset) + index(first), place, wide)
            first += wide

    def _store(
        self,
        emitter: Emitter,
        accumulators: tirx.Buffer,
        offset: tirx.Expr,
        position: Sequence[tirx.Expr],
        lanes: int,
    ) -> None:
        if lanes == 1:
            value = load(accumulators, offset)
            final = self._evaluate(emitter, value, position, index(0))
            emitter.store(self.result, final, self.place(list(position)))
            return
        packs = self.packs and lanes in NARROWED_LANES and self._narrows
        rounded = emitter.allocate("rounded", [lanes], "int32") if packs else None
        with emitter.vectorized(lanes) as lane:
            value = load(accumulators, offset + lane)
            final = self._evaluate(emitter, value, position, lane)
            if rounded is None:
                place = [*position[:-1], position[-1] + lane]
                emitter.store(self.result, final, self.place(place))
            else:
                emitter.store(rounded, narrowed(final), [lane])
        if rounded is not None:
            values = narrow(emitter, rounded, str(self.result.ty.dtype))
            *leading, first = self.place(list(position))
            emitter.store(self.result, values, [*leading, vector_at(first, lanes)])

    @property
    def _narrows(self) -> bool:
        return bool(self.steps) and narrowed(self.steps[-1][1]) is not None

    def _evaluate(
        self,
        emitter: Emitter,
        value: tirx.Expr,
        position: Sequence[tirx.Expr],
        lane: tirx.Expr,
    ) -> tirx.Expr:
        """Emits the steps for one lane, and returns the value of the last.

        Values are bound, but for booleans, which are computed again where they are used: vectors of
        them are neither bound nor loaded without error by TVM.
        """
        place = [*position[:-1], position[-1] + lane]
        known: dict[tirx.Var, tirx.Expr] = dict(zip(self.coordinates, place, strict=True))
        known[self.accumulator] = value
        final = value
        for variable, expression in self.steps:
            final = substitute(expression, known)
            if variable is not self.steps[-1][0]:
                inline = _is_boolean(variable)
                known[variable] = final if inline else emitter.bind(variable.name, bindable(final))
        return final

    def prefetch(self, emitter: Emitter, position: Sequence[tirx.Expr], columns: int) -> None:
        """Asks for what `store` will read and write at a position, ahead of the accumulation.

        Args:
            emitter: Where the statements go.
            position: The first element.
            columns: How many elements along the last axis.
        """
        place = dict(zip(self.coordinates, position, strict=True))
        buffers = [(self.result, list(self.coordinates), True)]
        for buffer, indices in self._streams():
            buffers.append((buffer, indices, False))
        for buffer, indices, write in buffers:
            *leading, first = (substitute(at, place) for at in indices)
            elements = CACHE_LINE_BYTES // np.dtype(str(buffer.ty.dtype)).itemsize
            for line in range(0, columns, elements):
                emitter.prefetch(buffer, *leading, first + index(line), write=write)

    @property
    def reads_streams(self) -> bool:
        """Whether it reads a tensor as large as the result, such as a residual."""
        return bool(self._streams())

    def _streams(self) -> list[tuple[tirx.Buffer, list[tirx.Expr]]]:
        """The operands that have an element of their own for each of the result's."""
        found: list[tuple[tirx.Buffer, list[tirx.Expr]]] = []

        def note(node: tirx.Expr) -> tirx.Expr:
            if _same_shape(node.source, self.result) and self._is_position(node.indices):
                found.append((node.source, list(node.indices)))
            return node

        for _, expression in self.steps:
            rewrite_loads(expression, note)
        return found

    def by_rows(self, emitter: Emitter, decode: Callable[[tirx.Expr], list[tirx.Expr]]) -> Epilogue:
        """Returns the same function of a row and a column, all axes but the last made one.

        Buffers of the result's shape are read as matrices, so that addresses stay plain sums.

        Args:
            emitter: Where the views are declared.
            decode: Returns the leading coordinates of a row.
        """
        row, column = tirx.Var("row", "int64"), self.coordinates[-1]
        views: dict[tirx.Buffer, tirx.Buffer] = {}

        def as_matrix(buffer: tirx.Buffer) -> tirx.Buffer:
            if buffer not in views:
                views[buffer] = matrix_view(emitter, buffer)
            return views[buffer]

        def through_view(node: tirx.Expr) -> tirx.Expr:
            if _same_shape(node.source, self.result) and self._is_position(node.indices):
                return load(as_matrix(node.source), row, column)
            return node

        leading = dict(zip(self.coordinates[:-1], decode(row), strict=True))
        steps = tuple(
            (
                variable,
                substitute(rewrite_loads(expression, through_view), leading),
            )
            for variable, expression in self.steps
        )
        return dataclasses.replace(
            self, coordinates=(row, column), steps=steps, result=as_matrix(self.result)
        )

    def _is_position(self, indices: Sequence[tirx.Expr]) -> bool:
        return same_position(indices, self.coordinates, self.result.shape)


def _powers_of_two(count: int, most: int) -> list[int]:
    """Vectors that cover some elements: one of ``most``, or ever narrower ones."""
    if count == most:
        return [most]
    return [1 << bit for bit in reversed(range(count.bit_length())) if count >> bit & 1]


def matrix_view(emitter: Emitter, buffer: tirx.Buffer) -> tirx.Buffer:
    """Declares a view of a compact buffer with all axes but the last made one."""
    rows: tirx.Expr = index(1)
    for size in buffer.shape[:-1]:
        rows = rows * size
    view = tirx.decl_buffer([rows, buffer.shape[-1]], str(buffer.ty.dtype), f"{buffer.name}_rows")
    emitter.emit(statements.DeclBuffer(view, data=buffer.data))
    return view


@dataclasses.dataclass(frozen=True)
class FusedKernel(Generic[AnyAnchor]):
    """A fused prim func taken apart.

    Attributes:
        parameters: Its parameters.
        anchor: What the selection of its family says of it.
        epilogue: What follows it.
        prologue: Blocks that precede it.
        operands: The anchor's own parameters, in its order: those that it reads, and those that no
            block reads, which are for the schedule.
    """

    parameters: tuple[tirx.Buffer, ...]
    anchor: AnyAnchor
    epilogue: Epilogue
    prologue: tuple[s_tir.SBlock, ...] = ()
    operands: tuple[tirx.Buffer, ...] = ()


def _is_boolean(variable: tirx.Var) -> bool:
    return str(variable.ty.dtype) == "bool"


def _same_shape(buffer: tirx.Buffer, other: tirx.Buffer) -> bool:
    return bool(tvm_ffi.structural_equal(list(buffer.shape), list(other.shape)))


def same_position(
    indices: Sequence[tirx.Expr], axes: Sequence[tirx.Var], shape: Sequence[tirx.Expr]
) -> bool:
    """Returns whether indices are the axes; of an axis of one element, any index is."""
    return len(indices) == len(axes) and all(
        at.same_as(axis) or (isinstance(size, tirx.IntImm) and int(size.value) == 1)
        for at, axis, size in zip(indices, axes, shape, strict=True)
    )
