"""Stages of a fast Fourier transform of complex vectors: Stockham's, of any radix.

Each value is two vectors, the real and the imaginary parts of as many transforms as a vector has
lanes: all arithmetic is element-wise, and twiddle factors are broadcast. A stage of radix r takes
transforms of length n that lie at stride s to r times as many of length n / r at stride r s, from
one buffer to another, which leaves the result in order (Van Loan, "Computational Frameworks for the
Fast Fourier Transform", 1992, section 1.7).
"""

from __future__ import annotations

import cmath
import dataclasses
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tvm import tirx

from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, splat, vector_at

# Real and imaginary parts.
Pair: TypeAlias = "tuple[tirx.Expr, tirx.Expr]"
_WRITTEN_OUT = (2, 3, 4, 5)


def radices(length: int) -> list[int]:
    """Returns the radices whose product is a length: fours first, then primes."""
    found = []
    while length % 4 == 0:
        found.append(4)
        length //= 4
    factor = 2
    while length > 1:
        if factor * factor > length:
            factor = length
        while length % factor == 0:
            found.append(factor)
            length //= factor
        factor += 1
    return found


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        radix: Its radix.
        length: Length of the transforms that it takes apart.
        stride: Their number, and the distance of their values.
    """

    radix: int
    length: int
    stride: int

    @property
    def rest(self) -> int:
        """Length of the transforms that are left."""
        return self.length // self.radix

    def factors(self, sign: int) -> npt.NDArray[np.complex128]:
        """Returns the stage's twiddle factors [rest, radix - 1], then the roots of a long radix."""
        powers = np.outer(np.arange(self.rest), np.arange(1, self.radix))
        twiddles: npt.NDArray[np.complex128] = np.exp(
            sign * 2j * np.pi * powers.reshape(-1) / self.length
        )
        if self.radix in _WRITTEN_OUT:
            return twiddles
        roots = np.exp(sign * 2j * np.pi * np.arange(self.radix) / self.radix)
        return np.concatenate([twiddles, roots])


def stages(length: int) -> list[Stage]:
    """Returns the stages of a transform."""
    found = []
    left, stride = length, 1
    for radix in radices(length):
        found.append(Stage(radix, left, stride))
        left, stride = left // radix, stride * radix
    return found


def operations(length: int) -> int:
    """Returns the operations of a complex transform, about."""
    per_value = sum(
        {2: 5, 3: 9, 4: 9, 5: 14}.get(stage.radix, 8 * stage.radix) for stage in stages(length)
    )
    return per_value * length


@dataclasses.dataclass(frozen=True)
class Values:
    """A buffer of complex values, [value][part][transform].

    Attributes:
        buffer: The buffer.
        lanes: Transforms side by side.
    """

    buffer: tirx.Buffer
    lanes: int

    def read(self, emitter: Emitter, at: tirx.Expr | int) -> Pair:
        """Returns the parts of a value, read once."""
        parts = [
            emitter.bind(name, load(self.buffer, at, part, vector_at(0, self.lanes)))
            for part, name in enumerate(("re", "im"))
        ]
        return parts[0], parts[1]

    def write(self, emitter: Emitter, at: tirx.Expr | int, value: Pair) -> None:
        """Writes a value."""
        for part, vector in enumerate(value):
            emitter.store(self.buffer, vector, [at, part, vector_at(0, self.lanes)])


class Transform:
    """Writes the stages of a transform."""

    def __init__(
        self, emitter: Emitter, length: int, sign: int, table: tirx.Buffer, lanes: int
    ) -> None:
        """Takes what all stages share.

        Args:
            emitter: Where the statements go.
            length: Length of the transform.
            sign: Of the exponent: -1, or 1 for the inverse.
            table: Begins with what :func:`factor_table` returns, [factor][part].
            lanes: Transforms side by side.
        """
        self._emitter, self._sign, self._table, self._lanes = emitter, sign, table, lanes
        self._stages = stages(length)

    def emit(self, source: Values, other: Values) -> tuple[Values, Values]:
        """Emits all stages; returns the buffer with the result, and the other."""
        first = 0
        for stage in self._stages:
            self._stage(stage, first, source, other)
            first += len(stage.factors(self._sign))
            source, other = other, source
        return source, other

    def factor(self, at: tirx.Expr | int) -> Pair:
        """Returns a factor of the table in all lanes."""
        return complex_factor(self._emitter, self._table, at, self._lanes)

    def _stage(self, stage: Stage, first: int, source: Values, target: Values) -> None:
        emitter, radix = self._emitter, stage.radix
        with emitter.loop(stage.rest, "p") as p:
            twiddles = [
                self.factor(index(first + k) + p * index(radix - 1))
                for k in (range(radix - 1) if radix in _WRITTEN_OUT and stage.rest > 1 else ())
            ]
            with emitter.loop(stage.stride, "q") as q:
                if radix in _WRITTEN_OUT:
                    self._short_butterfly(stage, source, target, (p, q), twiddles)
                else:
                    self._long_butterfly(stage, first, source, target, (p, q))

    def _short_butterfly(
        self,
        stage: Stage,
        source: Values,
        target: Values,
        place: tuple[tirx.Expr, tirx.Expr],
        twiddles: Sequence[Pair],
    ) -> None:
        """A transform of few values, in registers."""
        p, q = place
        stride = index(stage.stride)
        values = [
            source.read(self._emitter, q + (p + index(j * stage.rest)) * stride)
            for j in range(stage.radix)
        ]
        for k, value in enumerate(self._butterfly(values)):
            turned = multiply(value, twiddles[k - 1]) if k and twiddles else value
            at = q + (p * index(stage.radix) + index(k)) * stride
            target.write(self._emitter, at, turned)

    def _butterfly(self, values: Sequence[Pair]) -> list[Pair]:
        """A transform of 2, 3, 4 or 5 values."""
        if len(values) == 2:
            return [self._add(*values), self._subtract(*values)]
        if len(values) == 4:
            a, b, c, d = values
            even = self._add(a, c), self._subtract(a, c)
            odd = self._add(b, d), self._turned(self._subtract(b, d))
            return [
                self._add(even[0], odd[0]),
                self._add(even[1], odd[1]),
                self._subtract(even[0], odd[0]),
                self._subtract(even[1], odd[1]),
            ]
        return self._odd_butterfly(values)

    def _odd_butterfly(self, values: Sequence[Pair]) -> list[Pair]:
        """Pairs j and -j: their sums have cosines as factors, their differences sines."""
        radix = len(values)
        half = radix // 2
        sums = [self._add(values[j], values[radix - j]) for j in range(1, half + 1)]
        differences = [self._subtract(values[j], values[radix - j]) for j in range(1, half + 1)]
        total = values[0]
        for each in sums:
            total = self._add(total, each)
        results = [total] * radix
        for k in range(1, half + 1):
            even, odd = values[0], None
            for j in range(1, half + 1):
                root = cmath.exp(2j * math.pi * j * k / radix)
                even = self._add(even, self._scaled(sums[j - 1], root.real))
                part = self._scaled(differences[j - 1], root.imag)
                odd = part if odd is None else self._add(odd, part)
            assert odd is not None
            turned = self._turned(odd)
            results[k] = self._add(even, turned)
            results[radix - k] = self._subtract(even, turned)
        return results

    def _long_butterfly(
        self,
        stage: Stage,
        first: int,
        source: Values,
        target: Values,
        place: tuple[tirx.Expr, tirx.Expr],
    ) -> None:
        """A transform of any length by its definition, in loops."""
        emitter, radix = self._emitter, stage.radix
        p, q = place
        roots = first + stage.rest * (radix - 1)
        sums = Values(emitter.allocate("sums", (1, 2, self._lanes)), self._lanes)
        with emitter.loop(radix, "k") as k:
            sums.write(emitter, 0, (splat(0.0, self._lanes), splat(0.0, self._lanes)))
            with emitter.loop(radix, "j") as j:
                value = source.read(emitter, q + (p + j * stage.rest) * index(stage.stride))
                root = self.factor(index(roots) + j * k % radix)
                sums.write(emitter, 0, self._add(sums.read(emitter, 0), multiply(value, root)))
            total = sums.read(emitter, 0)
            at = q + (p * radix + k) * index(stage.stride)
            with emitter.when(k.equal(index(0))):
                target.write(emitter, at, total)
            with emitter.when(k > 0):
                twiddle = self.factor(index(first) + p * (radix - 1) + k - 1)
                target.write(emitter, at, multiply(total, twiddle))

    def _add(self, a: Pair, b: Pair) -> Pair:
        return self._bind((a[0] + b[0], a[1] + b[1]))

    def _subtract(self, a: Pair, b: Pair) -> Pair:
        return self._bind((a[0] - b[0], a[1] - b[1]))

    def _scaled(self, a: Pair, factor: float) -> Pair:
        scale = splat(factor, self._lanes)
        return a[0] * scale, a[1] * scale

    def _turned(self, a: Pair) -> Pair:
        """Times i, or -i where the sign is negative."""
        if self._sign < 0:
            return a[1], self._bind_one(-a[0])
        return self._bind_one(-a[1]), a[0]

    def _bind(self, value: Pair) -> Pair:
        return self._bind_one(value[0]), self._bind_one(value[1])

    def _bind_one(self, value: tirx.Expr) -> tirx.Expr:
        return self._emitter.bind("part", value)


def factor_table(length: int, sign: int) -> npt.NDArray[np.complex128]:
    """Returns the factors of all stages, one after the other."""
    parts = [stage.factors(sign) for stage in stages(length)]
    return np.concatenate(parts) if parts else np.zeros(0, np.complex128)


def multiply(a: Pair, b: Pair) -> Pair:
    """Returns the product of complex values."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def complex_factor(emitter: Emitter, table: tirx.Buffer, at: tirx.Expr | int, lanes: int) -> Pair:
    """Returns a factor of a table [factor][part] in all lanes."""
    parts = [emitter.bind("factor", splat(load(table, at, part), lanes)) for part in range(2)]
    return parts[0], parts[1]
