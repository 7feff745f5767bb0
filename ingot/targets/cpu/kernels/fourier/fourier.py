"""Discrete Fourier transforms of many rows, or of the overlapping frames of signals, in one kernel.

A task takes as many rows as a vector has lanes. They are transposed as they are read, so that all
arithmetic is on whole vectors, one row per lane (see ``fourier_stages``), and transposed back as
they are written; frames are read where they lie in the signal. What a task holds, two buffers of
its rows, stays in the second-level cache for lengths up to some thousands.

The spectrum of an even number of real values is that of half as many complex ones, each made of two
neighbours as they lie in memory, whose halves are then combined; backwards likewise (Sorensen,
Jones, Heideman and Burrus, "Real-valued fast Fourier transform algorithms", 1987).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from tvm import tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.fourier.stages import (
    Pair,
    Transform,
    Values,
    factor_table,
    multiply,
    operations,
)
from ingot.targets.cpu.kernels.writing.dimension import Dim, product
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    index,
    load,
    prim_func,
    splat,
    vector_at,
)
from ingot.targets.cpu.kernels.writing.lanes import transpose
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.relax.fourier import Fourier

# The narrowest block that can be transposed.
_FEWEST_LANES = 4


@dataclasses.dataclass(frozen=True)
class Problem:
    """Transforms to make a kernel for.

    Attributes:
        transform: What is computed.
        data: Dimensions of the data, [.., values, parts].
        result: Dimensions of the result, [.., bins, parts], frames before the bins.
        windowed: Whether frames are multiplied with a window.
    """

    transform: Fourier
    data: tuple[Dim, ...]
    result: tuple[Dim, ...]
    windowed: bool = False

    @property
    def rows(self) -> Dim:
        """Number of transforms."""
        return product(self.result[:-2])

    @property
    def halved(self) -> bool:
        """Whether pairs of neighbouring real values are taken for complex ones."""
        transform = self.transform
        real = not (transform.complex_input and transform.complex_result)
        return real and transform.length % 2 == 0

    @property
    def points(self) -> int:
        """Length of the complex transform that is computed."""
        return self.transform.length // 2 if self.halved else self.transform.length

    @property
    def sign(self) -> int:
        """The exponent's sign."""
        return 1 if self.transform.inverse else -1

    def table(self) -> npt.NDArray[np.float32]:
        """Returns the constants that the kernel takes, [factor][part].

        These are the stages' factors and, for halves that are combined, the roots to do that.
        """
        factors = factor_table(self.points, self.sign)
        if self.halved:
            powers = np.arange(self.points // 2 + 1) / self.transform.length
            factors = np.concatenate([factors, np.exp(self.sign * 2j * np.pi * powers)])
        if factors.size == 0:
            factors = np.ones(1, np.complex128)
        return np.stack([factors.real, factors.imag], axis=1).astype(np.float32)


def fourier(problem: Problem, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the kernel; its parameters are the data, the window if any, the table, the result."""
    return _Kernel(problem, cpu).function()


class _Kernel:
    """The kernel's body while it is written."""

    def __init__(self, problem: Problem, cpu: CpuDescription) -> None:
        self.problem, self.transform, self.cpu = problem, problem.transform, cpu
        self.lanes = _lanes(problem.rows, cpu)
        self.emitter = Emitter()
        self.data = _buffer("data", problem.data)
        self.window = _buffer("window", (self.transform.length,)) if problem.windowed else None
        self.table = _buffer("table", problem.table().shape)
        self.result = _buffer("result", problem.result)

    def function(self) -> tirx.PrimFunc:
        problem = self.problem
        rows = problem.rows
        tasks = (rows + (self.lanes - 1)) // self.lanes
        self._flat_data = self._flat(self.data)
        self._flat_result = self._flat(self.result)
        work = operations(problem.points) + 16 * self.transform.length
        if isinstance(rows, int):
            share_tasks(self.emitter, tasks, rows * work, self._task, self.cpu)
        else:
            with self.emitter.parallel(tasks, "task") as task:
                self._task(task)
        buffers = [self.data, self.window, self.table, self.result]
        return prim_func(
            [buffer for buffer in buffers if buffer is not None],
            self.emitter.body(),
            family="fourier",
            operations=rows * work if isinstance(rows, int) else None,
        )

    def _flat(self, buffer: tirx.Buffer) -> tirx.Buffer:
        view = tirx.decl_buffer([product(buffer.shape)], "float32", f"{buffer.name}_flat")
        self.emitter.emit(statements.DeclBuffer(view, data=buffer.data))
        return view

    def _task(self, task: tirx.Expr) -> None:
        emitter, points = self.emitter, self.problem.points
        first = emitter.bind("first_row", task * index(self.lanes))
        # Combining halves gives one value more, or all of a spectrum; so does taking it in.
        size = max(points + 1, self.transform.bins, self.transform.length // 2 + 1)
        if not self.transform.complex_result and not self.problem.halved:
            size = max(size, self.transform.length)
        one, other = (
            Values(emitter.allocate(name, (size, 2, self.lanes)), self.lanes)
            for name in ("values", "more_values")
        )
        stages = Transform(emitter, points, self.problem.sign, self.table, self.lanes)
        self._read(first, one)
        source, target = one, other
        if not self.transform.complex_result:
            self._take_in_half(stages, source, target)
            source, target = target, source
        source, target = stages.emit(source, target)
        if self.problem.halved and self.transform.complex_result:
            self._combine_halves(stages, source, target)
            source = target
        self._write(first, source)

    # Reading.

    def _read(self, first: tirx.Var, target: Values) -> None:
        """Transposes rows into a buffer; what they are short of is zero."""
        emitter, lanes, transform = self.emitter, self.lanes, self.transform
        parts = 2 if transform.complex_input else 1
        wanted = self._values_wanted()
        given = wanted if transform.step is not None else min(int(self.data.shape[-2]), wanted)
        spread = parts == 1 and not self.problem.halved
        flat = self._as_run(target)
        size = wanted * parts * (2 if spread else 1)
        if spread or given < wanted:
            with emitter.loop(size, "unset") as at:
                emitter.store(flat, splat(0.0, lanes), [vector_at(at * lanes, lanes)])
        last = index(self.problem.rows) - 1
        starts = [
            emitter.bind("start", self._start(tirx.min(first + index(row), last)))
            for row in range(lanes)
        ]

        def put(column: tirx.Expr, value: tirx.Expr) -> None:
            if self.window is not None:
                factor = load(self.window, column // 2 if parts == 2 else column)
                value = value * splat(factor, lanes)
            at = column * index(2 * lanes if spread else lanes)
            emitter.store(flat, value, [vector_at(at, lanes)])

        def block(begin: tirx.Expr) -> None:
            rows = [load(self._flat_data, vector_at(start + begin, lanes)) for start in starts]
            for lane, column in enumerate(transpose(emitter, rows)):
                put(begin + index(lane), column)

        def single(column: tirx.Expr) -> None:
            gathered = emitter.allocate("gathered", (lanes,))
            for row, start in enumerate(starts):
                emitter.store(gathered, load(self._flat_data, start + column), [row])
            put(column, load(gathered, vector_at(0, lanes)))

        self._blocks(given * parts, block, single)

    def _values_wanted(self) -> int:
        """Values of a row that take part."""
        if self.transform.complex_result:
            return self.transform.length
        return self.transform.length // 2 + 1

    def _as_run(self, values: Values) -> tirx.Buffer:
        """Declares a view of a buffer as one run of vectors."""
        buffer = values.buffer
        view = tirx.decl_buffer([product(buffer.shape)], "float32", f"{buffer.name}_run")
        self.emitter.emit(statements.DeclBuffer(view, data=buffer.data))
        return view

    def _start(self, row: tirx.Expr) -> tirx.Expr:
        """Returns where a row begins in the data."""
        size = product(self.data.shape[-2:])
        if self.transform.step is None:
            return row * index(size)
        frames = index(self.result.shape[-3])
        parts = 2 if self.transform.complex_input else 1
        step = index(self.transform.step * parts)
        return row // frames * index(size) + row % frames * step

    def _blocks(
        self,
        columns: int,
        block: Callable[[tirx.Expr], None],
        single: Callable[[tirx.Expr], None],
    ) -> None:
        """Goes through columns in square blocks; the last one may overlap the one before it."""
        lanes = self.lanes
        if columns < lanes:
            with self.emitter.loop(columns, "column") as column:
                single(column)
            return
        with self.emitter.loop(columns // lanes, "block") as number:
            block(self.emitter.bind("begin", number * index(lanes)))
        if columns % lanes:
            block(index(columns - lanes))

    # Spectra of real values.

    def _combine_halves(self, stages: Transform, source: Values, target: Values) -> None:
        """Makes the spectrum of the real values of which the complex ones were made.

        With Z[k] = E[k] + i O[k], the spectra of even and odd values, X[k] = E[k] + w**k O[k].
        """
        emitter, points = self.emitter, self.problem.points
        zero = source.read(emitter, 0)
        nothing = splat(0.0, self.lanes)
        self._put(target, index(0), (zero[0] + zero[1], nothing))
        self._put(target, index(points), (zero[0] - zero[1], nothing))
        first_root = len(factor_table(points, self.problem.sign))
        with emitter.loop(points // 2, "pair") as pair:
            k = emitter.bind("k", pair + 1)
            root = stages.factor(k + index(first_root))
            even, odd = self._halves(source.read(emitter, k), source.read(emitter, points - k))
            # -i times what is twice O.
            turned = multiply((odd[1], -odd[0]), root)
            turned = (emitter.bind("re", turned[0]), emitter.bind("im", turned[1]))
            self._put(target, k, (even[0] + turned[0], even[1] + turned[1]))
            self._put(target, points - k, (even[0] - turned[0], turned[1] - even[1]))

    def _take_in_half(self, stages: Transform, source: Values, target: Values) -> None:
        """Makes what is to be transformed of the first half of a spectrum.

        The imaginary part of the first value, and of the middle one of an even number, is no part
        of a real signal's spectrum and counts as zero.
        """
        emitter, length, points = self.emitter, self.transform.length, self.problem.points
        nothing = splat(0.0, self.lanes)
        zero = source.read(emitter, 0)
        if not self.problem.halved:
            target.write(emitter, 0, (zero[0], nothing))
            with emitter.loop(length // 2, "pair") as pair:
                value = source.read(emitter, pair + 1)
                target.write(emitter, pair + 1, value)
                target.write(emitter, index(length - 1) - pair, (value[0], -value[1]))
            return
        middle = source.read(emitter, points)
        half = splat(0.5, self.lanes)
        target.write(emitter, 0, ((zero[0] + middle[0]) * half, (zero[0] - middle[0]) * half))
        first_root = len(factor_table(points, self.problem.sign))
        with emitter.loop(points // 2, "pair") as pair:
            k = emitter.bind("k", pair + 1)
            root = stages.factor(k + index(first_root))
            even, odd = self._halves(source.read(emitter, k), source.read(emitter, points - k))
            turned = multiply(odd, root)
            turned = (emitter.bind("re", turned[0]), emitter.bind("im", turned[1]))
            target.write(emitter, k, (even[0] - turned[1], even[1] + turned[0]))
            other = (even[0] + turned[1], turned[0] - even[1])
            target.write(emitter, points - k, other)

    def _halves(self, value: Pair, mirrored: Pair) -> tuple[Pair, Pair]:
        """Returns half the sum, and half the difference, of a value and its mirror's conjugate."""
        half = splat(0.5, self.lanes)
        sums = (value[0] + mirrored[0], value[1] - mirrored[1])
        differences = (value[0] - mirrored[0], value[1] + mirrored[1])
        even, odd = (
            tuple(self.emitter.bind("half", part * half) for part in pair)
            for pair in (sums, differences)
        )
        return (even[0], even[1]), (odd[0], odd[1])

    def _put(self, target: Values, k: tirx.Expr, value: Pair) -> None:
        """Writes a value of a spectrum of real values, and its mirror where that is wanted."""
        target.write(self.emitter, k, value)
        length = self.transform.length
        if self.transform.bins > length // 2 + 1:
            with self.emitter.when(k > 0):
                target.write(self.emitter, length - k, (value[0], -value[1]))

    # Writing.

    def _write(self, first: tirx.Var, source: Values) -> None:
        """Transposes the result into rows."""
        emitter, lanes, transform = self.emitter, self.lanes, self.transform
        parts = 2 if transform.complex_result else 1
        columns = transform.bins * parts
        # Without a second half, the real values lie between imaginary ones that are not wanted.
        spread = parts == 1 and not self.problem.halved
        flat = self._as_run(source)
        rows = self.problem.rows
        divisor = transform.length if transform.complex_result else self.problem.points
        scale = 1.0 / divisor if transform.inverse else 1.0
        starts = [
            emitter.bind("start", (first + index(row)) * index(columns)) for row in range(lanes)
        ]

        def get(column: tirx.Expr) -> tirx.Expr:
            at = column * index(2 * lanes if spread else lanes)
            value = load(flat, vector_at(at, lanes))
            return value if scale == 1.0 else value * splat(scale, lanes)

        def where(row: int) -> contextlib.AbstractContextManager[None]:
            if isinstance(rows, int) and rows % lanes == 0:
                return contextlib.nullcontext()
            return emitter.when(first + index(row) < index(rows))

        def block(begin: tirx.Expr) -> None:
            values = [get(begin + index(lane)) for lane in range(lanes)]
            for row, value in enumerate(transpose(emitter, values)):
                with where(row):
                    at = vector_at(starts[row] + begin, lanes)
                    emitter.store(self._flat_result, value, [at])

        def single(column: tirx.Expr) -> None:
            gathered = emitter.allocate("scattered", (lanes,))
            emitter.store(gathered, get(column), [vector_at(0, lanes)])
            for row, start in enumerate(starts):
                with where(row):
                    emitter.store(self._flat_result, load(gathered, row), [start + column])

        self._blocks(columns, block, single)


def _lanes(rows: Dim, cpu: CpuDescription) -> int:
    """Returns how many rows to transform side by side: a vector's lanes, or fewer for few rows."""
    lanes = cpu.float_lanes
    while isinstance(rows, int) and lanes > _FEWEST_LANES and rows <= lanes // 2:
        lanes //= 2
    return lanes


def _buffer(name: str, shape: tuple[Dim, ...]) -> tirx.Buffer:
    return tirx.decl_buffer([index(size) for size in shape], "float32", name)
