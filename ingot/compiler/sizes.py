"""Sizes for the dimensions that a model leaves open: what reference runs try, in which order.

A dimension is a size, a symbol, or a sum, difference or product of symbols and numbers, as
exporters write ``past_sequence_length + 1``.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence

import onnx_ir as ir

from ingot.compiler.open_dimensions import real_inputs

# Sizes of the first run. Two for the batch, so that a result that mixes examples shows; 64 pixels,
# so that five halvings leave more than one.
BATCH = 2
PIXELS = 64
SEQUENCE = 16

Sizes = Mapping[str, int]
Dimension = int | str | None

# Sizes of further runs, by that of the first one: ones; odd sizes, which differ from symbol to
# symbol; larger ones; for images also what five halvings divide.
_FURTHER: Mapping[int, Sequence[Sequence[int]]] = {
    BATCH: ((1,), (3, 5, 7), (4,), (1,)),
    SEQUENCE: ((1,), (7, 11, 13, 9, 5), (33, 48, 40), (8,)),
    PIXELS: ((1,), (51, 45, 77), (96, 128), (32,)),
}
_KINDS = 4
# What a dimension is grown to until the model runs, such as the samples that a window takes.
_GROWN = (64, 256, 1024, 4096, 16384, 65536)
_MOST_ELEMENTS = 1 << 24

_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


@dataclasses.dataclass(frozen=True)
class OpenSizes:
    """The symbols of a model's inputs.

    Attributes:
        first: The size of each symbol in the first run, by the place where it stands.
        shapes: The dimensions of each input of known rank.
    """

    first: Sizes
    shapes: Mapping[str, Sequence[Dimension]]

    @classmethod
    def of(cls, model: ir.Model) -> OpenSizes:
        """Finds a model's symbols, those that only occur in expressions included."""
        inputs = [value for value in real_inputs(model) if value.shape is not None]
        shapes = {str(value.name): dimensions(value) for value in inputs}
        alone = {dim for dims in shapes.values() for dim in dims if isinstance(dim, str)}
        first: dict[str, int] = {}
        for value in inputs:
            for axis, dim in enumerate(shapes[str(value.name)]):
                if isinstance(dim, str):
                    for symbol in _symbols(dim, alone):
                        first.setdefault(symbol, default_size(value, axis, BATCH))
        return cls(first, shapes)

    @property
    def batches(self) -> list[str]:
        """The symbols that are the first dimension of an input."""
        leading = {dims[0] for dims in self.shapes.values() if dims}
        return [symbol for symbol in self.first if symbol in leading]

    @property
    def lengths(self) -> list[str]:
        """The other symbols."""
        return [symbol for symbol in self.first if symbol not in self.batches]

    def attempts(self) -> Iterator[dict[str, int]]:
        """Sizes to try until the model runs: the first ones, a batch of one, sums, larger ones.

        Exporters call the batch symbolic and yet write its size of one into a Reshape; a mask's
        length is often that of the past and of the present together; the batch of a recurrent
        state stands behind its layers, maybe without a name; a window takes more samples than a
        sentence has words.
        """
        starts = [dict(self.first), {**self.first, **dict.fromkeys(self.batches, 1)}]
        yield from starts
        for total, (one, two) in self._sums():
            for start in starts:
                yield start | {total: start[one] + start[two]}
        tied = [start | {s: start[batch]} for s, batch in self._ties() for start in starts]
        yield from tied
        for size, group in itertools.product(_GROWN, self._groups()):
            for start in (*starts, *tied):
                if any(start[symbol] != self.first[symbol] for symbol in group):
                    continue
                grown = start | {symbol: max(size, start[symbol]) for symbol in group}
                if grown != start and self._elements(grown) <= _MOST_ELEMENTS:
                    yield grown

    def further(self, base: Sizes) -> Iterator[Sequence[dict[str, int]]]:
        """Sizes for runs after the first one that succeeded: ones, odd ones, larger ones.

        Yields:
            For each kind, sets of sizes to try in turn until one runs.
        """
        for kind in range(_KINDS):
            apart = {s: self._size(s, kind, index, base) for index, s in enumerate(base)}
            alike = {s: self._size(s, kind, 0, base) for s in base}
            candidates = [self._related(sizes, base) for sizes in (apart, alike)]
            yield candidates if apart != alike else candidates[:1]

    def alone(self, symbol: str, base: Sizes) -> Iterator[dict[str, int]]:
        """Sizes that differ from the first ones in one symbol: odd, larger, one, divisible."""
        for kind in (1, 2, 0, 3):
            yield self._related({**base, symbol: self._size(symbol, kind, 0, base)}, base)

    def _size(self, symbol: str, kind: int, index: int, base: Sizes) -> int:
        size = BATCH if symbol in self.batches else self.first[symbol]
        choices = _FURTHER.get(size, _FURTHER[SEQUENCE])[kind]
        chosen = choices[index % len(choices)]
        grown = base[symbol] - self.first[symbol]
        return chosen if grown <= 0 else base[symbol] + chosen

    def _sums(self) -> Iterator[tuple[str, tuple[str, str]]]:
        for total in self.lengths:
            rest = [symbol for symbol in self.lengths if symbol != total]
            for pair in itertools.combinations(rest, 2):
                yield total, pair

    def _ties(self) -> Iterator[tuple[str, str]]:
        """Lengths that may be a batch: those of second dimensions, as recurrent states have it."""
        seconds = {dims[1] for dims in self.shapes.values() if len(dims) > 2}
        for symbol in self.lengths:
            if symbol in seconds:
                yield from ((symbol, batch) for batch in self.batches)

    def _related(self, sizes: dict[str, int], base: Sizes) -> dict[str, int]:
        """Keeps a sum, or a length that is the batch, that was made so for the model to run."""
        for symbol, batch in self._ties():
            if base[symbol] != self.first[symbol] and base[symbol] == base[batch]:
                return sizes | {symbol: sizes[batch]}
        for total, (one, two) in self._sums():
            if base[total] != self.first[total] and base[total] == base[one] + base[two]:
                return sizes | {total: sizes[one] + sizes[two]}
        return sizes

    def _groups(self) -> list[tuple[str, ...]]:
        """Symbols that grow together: each alone, those of one input, all."""
        groups: list[tuple[str, ...]] = [(symbol,) for symbol in self.lengths]
        groups += [tuple(s for s in self.lengths if s in dims) for dims in self.shapes.values()]
        groups.append(tuple(self.lengths))
        return [group for group in dict.fromkeys(groups) if group]

    def _elements(self, sizes: Sizes) -> int:
        """Elements of the largest input."""
        largest = 1
        for dims in self.shapes.values():
            count = 1
            for dim in dims:
                count *= SEQUENCE if dim is None else size_of(dim, sizes)
            largest = max(largest, count)
        return largest


def dimensions(value: ir.Value) -> tuple[Dimension, ...]:
    """The dimensions of a value of known rank: sizes, symbols, or None."""
    assert value.shape is not None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def default_size(value: ir.Value, axis: int, batch: int) -> int:
    """The size of an open dimension in the first run."""
    if axis == 0:
        return batch
    rank = 0 if value.shape is None else len(value.shape)
    image = rank == 4 and value.dtype is not None and value.dtype.is_floating_point()
    return PIXELS if image else SEQUENCE


def size_of(dim: int | str, sizes: Sizes) -> int:
    """The size of a dimension, where its symbols have these sizes."""
    if isinstance(dim, int):
        return dim
    if dim in sizes:
        return sizes[dim]
    return max(_evaluate(ast.parse(dim, mode="eval").body, sizes), 0)


def show_sizes(sizes: Sizes) -> str:
    """Sizes for a message, ``N = 2, S = 16``."""
    return ", ".join(f"{symbol} = {size}" for symbol, size in sizes.items())


def _symbols(dim: str, alone: set[str]) -> list[str]:
    """The symbols of a dimension's name: itself, unless it is computed from another dimension."""
    try:
        tree = ast.parse(dim, mode="eval").body
        names = list(dict.fromkeys(n.id for n in ast.walk(tree) if isinstance(n, ast.Name)))
        _evaluate(tree, dict.fromkeys(names, 1))
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError):
        return [dim]
    computed = isinstance(tree, ast.BinOp) and bool(alone.intersection(names))
    return names if computed else [dim]


def _evaluate(tree: ast.expr, sizes: Sizes) -> int:
    """Computes an expression; a KeyError tells that it is none of sizes."""
    if isinstance(tree, ast.Name):
        return sizes[tree.id]
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    if isinstance(tree, ast.BinOp):
        function = _OPERATORS[type(tree.op)]
        return function(_evaluate(tree.left, sizes), _evaluate(tree.right, sizes))
    raise KeyError(ast.dump(tree))
