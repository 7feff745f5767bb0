"""Softmax, layer norm and RMS norm over the last axis: one pass over memory, a row at a time.

A row is read from memory once and then stays in the first-level cache, so that further passes over
it cost little: layer norm takes the mean first and the squares of the differences from it second,
which loses no digits where the mean is large against the deviation, as a one-pass sum of squares
does (Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983). Sums and
maxima run in several vectors, because one chain of additions would wait for each; their order is
fixed by the width alone, so that neither threads nor the number of rows nor the processor's vectors
change a bit. Threads share the rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeAlias

from tvm import tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.bfloat16 import round_to_bfloat16
from ingot.targets.cpu.kernels.writing.dimension import Dim, product
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    as_float,
    index,
    load,
    prim_func,
    splat,
    vector_at,
)
from ingot.targets.cpu.kernels.writing.lanes import reduce_lanes
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

# A sum runs in so many chains of so many lanes on every processor. These are four registers of
# AVX2: four independent additions hide the latency of one, and more would wait for loads.
_CHAINS = 2
_LANES = 16
# An element is read and written.
_ELEMENT_BYTES = 8
# Operations of an element: a maximum, a difference, an exponential (16), a sum, a product.
_SOFTMAX_OPERATIONS = 20
# A sum, a difference, a square and its sum, a difference and two products and a sum.
_NORM_OPERATIONS = 8

Term: TypeAlias = Callable[[tirx.Expr, int], tirx.Expr]


@dataclasses.dataclass(frozen=True)
class Norm:
    """A normalization of rows.

    Attributes:
        shape: The tensor's dimensions, the last one a number.
        epsilon: What is added to the variance or the mean square.
        centered: Whether the mean is subtracted (layer norm) or not (RMS norm).
        scaled: Whether there is a factor for each column.
        shifted: Whether there is a summand for each column.
        source: The tensor's type, ``float32`` or ``bfloat16``.
        result: The result's, likewise.
    """

    shape: tuple[Dim, ...]
    epsilon: float
    centered: bool = True
    scaled: bool = True
    shifted: bool = True
    source: str = "float32"
    result: str = "float32"


def softmax(shape: Sequence[Dim], cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes softmax over the last axis; parameters are the tensor and the result."""
    source = tirx.decl_buffer(shape, "float32", "source")
    result = tirx.decl_buffer(shape, "float32", "result")
    emitter = Emitter()
    rows, width = product(shape[:-1]), shape[-1]
    values, weights = flat(emitter, source), flat(emitter, result)

    def emit_row(row: tirx.Expr) -> None:
        line = Line(emitter, width, emitter.bind("first", row * width))
        peak = line.reduce(
            lambda at, lanes: load(values, vector_at(at, lanes)), tirx.max, float("-inf")
        )

        def exponential(at: tirx.Expr, lanes: int) -> tirx.Expr:
            difference = load(values, vector_at(at, lanes)) - splat(peak, lanes)
            weight = emitter.bind("weight", tirx.exp(difference))
            emitter.store(weights, weight, [vector_at(at, lanes)])
            return weight

        total = line.reduce(exponential, _add, 0.0)
        inverse = emitter.bind("inverse", tirx.const(1.0, "float32") / total)

        def divide(at: tirx.Expr, lanes: int) -> None:
            weight = load(weights, vector_at(at, lanes)) * splat(inverse, lanes)
            emitter.store(weights, weight, [vector_at(at, lanes)])

        line.each(divide)

    elements = rows * width
    share_tasks(emitter, rows, elements * _work(_SOFTMAX_OPERATIONS, cpu), emit_row, cpu)
    return prim_func(
        [source, result],
        emitter.body(),
        family="softmax",
        operations=elements * _SOFTMAX_OPERATIONS if isinstance(elements, int) else None,
    )


def norm(problem: Norm, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes layer norm or RMS norm; parameters: tensor, factors, summands, result."""
    width = problem.shape[-1]
    assert isinstance(width, int)
    emitter = Emitter()
    source = tirx.decl_buffer(problem.shape, problem.source, "source")
    result = tirx.decl_buffer(problem.shape, problem.result, "result")
    factors = tirx.decl_buffer((width,), "float32", "factors")
    summands = tirx.decl_buffer((width,), "float32", "summands")
    values, normalized = flat(emitter, source), flat(emitter, result)
    rows = product(problem.shape[:-1])

    def value_at(at: tirx.Expr, lanes: int) -> tirx.Expr:
        return as_float(load(values, vector_at(at, lanes)))

    def emit_row(row: tirx.Expr) -> None:
        line = Line(emitter, width, emitter.bind("first", row * width))
        mean = None
        if problem.centered:
            total = line.reduce(value_at, _add, 0.0)
            mean = emitter.bind("mean", total * tirx.const(1.0 / width, "float32"))

        def deviation(at: tirx.Expr, lanes: int) -> tirx.Expr:
            value = value_at(at, lanes)
            return emitter.bind("value", value if mean is None else value - splat(mean, lanes))

        def square(at: tirx.Expr, lanes: int) -> tirx.Expr:
            value = deviation(at, lanes)
            return value * value

        squares = line.reduce(square, _add, 0.0)
        variance = squares * tirx.const(1.0 / width, "float32")
        root = tirx.sqrt(variance + tirx.const(problem.epsilon, "float32"))
        inverse = emitter.bind("inverse", tirx.const(1.0, "float32") / root)

        def normalize(at: tirx.Expr, lanes: int) -> None:
            column = vector_at(at - line.first, lanes)
            value = deviation(at, lanes) * splat(inverse, lanes)
            if problem.scaled:
                value = value * load(factors, column)
            if problem.shifted:
                value = value + load(summands, column)
            if problem.result == "bfloat16":
                value = round_to_bfloat16(value)
            emitter.store(normalized, value, [vector_at(at, lanes)])

        line.each(normalize)

    elements = rows * width
    share_tasks(emitter, rows, elements * _work(_NORM_OPERATIONS, cpu), emit_row, cpu)
    columns = [factors] * problem.scaled + [summands] * problem.shifted
    return prim_func(
        [source, *columns, result],
        emitter.body(),
        family="norm",
        operations=elements * _NORM_OPERATIONS if isinstance(elements, int) else None,
    )


def _work(operations: int, cpu: CpuDescription) -> int:
    """What an element takes, in operations at the rate of multiply-adds."""
    return operations + _ELEMENT_BYTES * cpu.operations_of_a_byte


class Line:
    """A row of a flat buffer, gone through in vectors and in what is left over."""

    lanes = _LANES

    def __init__(self, emitter: Emitter, width: Dim, first: tirx.Expr) -> None:
        """Describes a row.

        Args:
            emitter: What to emit to.
            width: Elements of the row.
            first: Index of its first element.
        """
        self.emitter = emitter
        self.width = width
        self.first = first

    def reduce(
        self, term: Term, combine: Callable[[tirx.Expr, tirx.Expr], tirx.Expr], neutral: float
    ) -> tirx.Var:
        """Combines what ``term`` makes of all parts of the row (at an index, of some lanes)."""
        emitter, lanes = self.emitter, self.lanes
        places = [vector_at(chain * lanes, lanes) for chain in range(_CHAINS)]
        chains = emitter.allocate("chains", (_CHAINS * lanes,))
        for place in places:
            emitter.store(chains, splat(neutral, lanes), [place])

        def add(at: tirx.Expr, chain: int) -> None:
            value = emitter.bind("term", term(at, lanes))
            emitter.store(chains, combine(load(chains, places[chain]), value), [places[chain]])

        self._vectors(add)
        pairs = [load(chains, place) for place in places]
        while len(pairs) > 1:
            pairs = [combine(a, b) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
        total = emitter.allocate("total", (1,))
        emitter.store(total, reduce_lanes(emitter, pairs[0], lanes, combine), [0])

        def add_part(at: tirx.Expr, part: int) -> None:
            rest = reduce_lanes(emitter, term(at, part), part, combine)
            emitter.store(total, combine(load(total, 0), rest), [0])

        self._parts(add_part)
        return emitter.bind("total", load(total, 0))

    def each(self, action: Callable[[tirx.Expr, int], None]) -> None:
        """Does something with all parts of the row."""
        self._vectors(lambda at, _: action(at, self.lanes))
        self._parts(action)

    def _vectors(self, action: Callable[[tirx.Expr, int], None]) -> None:
        """Goes through whole vectors, as many at a time as there are chains."""
        block = _CHAINS * self.lanes
        if not isinstance(self.width, int) or self.width >= block:
            with self.emitter.loop(self.width // block, "block") as number:
                for chain in range(_CHAINS):
                    action(self.first + number * block + chain * self.lanes, chain)
        start = self.width // block * block
        left = (self.width - start) // self.lanes
        if isinstance(left, int):
            for chain in range(left):
                action(self.first + start + chain * self.lanes, chain)
        else:
            with self.emitter.loop(left, "vector") as number:
                action(self.first + start + number * self.lanes, 0)

    def _parts(self, action: Callable[[tirx.Expr, int], None]) -> None:
        """Goes through what is left over, in vectors of fewer and fewer lanes."""
        lanes = self.lanes
        while lanes > 1:
            start = self.width // lanes * lanes
            lanes //= 2
            present = self.width // lanes % 2
            if not isinstance(present, int):
                with self.emitter.when(present > 0):
                    action(self.first + start, lanes)
            elif present:
                action(self.first + start, lanes)


def flat(emitter: Emitter, buffer: tirx.Buffer) -> tirx.Buffer:
    """Returns a one-dimensional view of a buffer."""
    size = product(buffer.shape)
    view = tirx.decl_buffer((index(size),), buffer.dtype, f"{buffer.name}_flat", data=buffer.data)
    emitter.emit(statements.DeclBuffer(view, data=buffer.data))
    return view


def _add(first: tirx.Expr, second: tirx.Expr) -> tirx.Expr:
    return first + second
