"""The innermost loops of convolution and matmul of words: of bytes, or of pairs of bfloat16."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import Anchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators
from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.words.dot import DotProduct
from ingot.targets.cpu.kernels.words.weights import WordWeights
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, vector_at

# Loads a word of a row, uint8x4 or bfloat16x2: the row of a tile, the tap's row, and the group.
RowWord = Callable[[int, tirx.Expr, tirx.Expr], tirx.Expr]


@dataclasses.dataclass(frozen=True)
class _Sums:
    """A tile while its sums are added up.

    Attributes:
        accumulators: The sums.
        panel: Its panel.
        row_word: Loads from its rows.
        zeros: Where each row reads the weights itself, its own zero to read them at; else empty.
        share: Which of how many tiles of the panel this is, where it asks for the next panel's.
    """

    accumulators: Accumulators
    panel: tirx.Expr
    row_word: RowWord
    zeros: list[tirx.Expr]
    share: tuple[tirx.Expr, int] | None


@dataclasses.dataclass(frozen=True)
class WordTile:
    """Writes tiles of sums; those of bytes are exact.

    Attributes:
        emitter: Where the statements go.
        kernel: The fused prim func.
        weights: Its weights.
        panels: The columns' panels.
        dot: How words are multiplied.
        half_word: Whether the last word of each tap's row ends with a value that is not part of the
            sum: its weight is zero, but it may be no number.
        speed: How much faster than float32 multiply-adds, epilogue included.
    """

    speed: ClassVar[int] = 2

    emitter: Emitter
    kernel: FusedKernel[Anchor]
    weights: WordWeights
    panels: Panels
    dot: DotProduct
    half_word: bool = False

    def write(
        self,
        rows: int,
        panel: tirx.Expr,
        columns: int,
        row_word: RowWord,
        position: Callable[[int], list[tirx.Expr]],
        share: tuple[tirx.Expr, int] | None = None,
        first_column: tirx.Expr | None = None,
    ) -> None:
        """Writes the code of one tile.

        Args:
            rows: Number of its rows.
            panel: Its panel.
            columns: Columns of the panel.
            row_word: Loads from its rows.
            position: Returns the leading coordinates of a row in the result.
            share: Which of how many tiles of the panel this is, where each is to ask for its share
                of the next panel's weights.
            first_column: Where the panel's columns begin in the result; by default behind those of
                the panels before it.
        """
        emitter, lanes = self.emitter, self.panels.lanes
        vectors = -(-columns // lanes)
        if first_column is None:
            first_column = panel * index(self.panels.width)
        for row in range(rows):
            self.kernel.epilogue.prefetch(emitter, [*position(row), first_column], columns)
        offsets = self.weights.offsets
        initial: float | list[tirx.Expr] = 0.0
        if offsets is not None:
            initial = [
                emitter.bind("offset", load(offsets, panel, vector_at(v * lanes, lanes)))
                for v in range(vectors)
            ]
        again = self.dot.step.reads_weights_again(vectors)
        zeros = [index(0), *emitter.opaque_zeros(rows - 1)] if again else []
        accumulators = Accumulators(emitter, rows, vectors, lanes, initial, self.dot.sums)
        sums = _Sums(accumulators, panel, row_word, zeros, share)
        depth = max(self.weights.depth, 1)
        groups = self.weights.groups - self.half_word
        with emitter.loop(self.weights.taps, "tap_y") as tap:
            if groups >= depth:
                with emitter.loop(groups // depth, "step") as step:
                    self._step(sums, tap, step * index(depth), depth)
            if groups % depth:
                self._step(sums, tap, index(groups - 1), 1)
            if self.half_word:
                self._step(sums, tap, index(groups), 1, half=True)
        self._add_excess(sums)
        accumulators.store(self.kernel.epilogue, position, first_column, columns)

    def _step(
        self, sums: _Sums, tap: tirx.Expr, first: tirx.Expr, depth: int, *, half: bool = False
    ) -> None:
        def weight(group: int, at: tirx.Expr) -> tirx.Expr:
            return load(self.weights.packed, sums.panel, tap, first + index(group), at)

        def word(row: int, group: int) -> tirx.Expr:
            return sums.row_word(row, tap, first + index(group))

        self.weights.prefetch_next(self.emitter, sums.panel, (tap, first), depth, sums.share)
        self._multiply(sums, depth, weight, word, half=half)

    def _multiply(
        self,
        sums: _Sums,
        depth: int,
        weight: Callable[[int, tirx.Expr], tirx.Expr],
        word: Callable[[int, int], tirx.Expr],
        *,
        half: bool = False,
    ) -> None:
        emitter, dot = self.emitter, self.dot
        width = dot.group * self.panels.lanes
        vectors = range(sums.accumulators.vectors)

        def weights_at(vector: int, zero: tirx.Expr) -> list[tirx.Expr]:
            place = vector_at((zero + index(vector)) * index(width), width)
            return [dot.weights(weight(group, place)) for group in range(depth)]

        kept = [
            [emitter.bind("weights", part) for part in weights_at(v, index(0))]
            for v in vectors
            if not sums.zeros
        ]
        for row in range(sums.accumulators.rows):
            values = [
                emitter.bind("values", dot.spread(word(row, group), half=half))
                for group in range(depth)
            ]
            for v in vectors:
                weights = weights_at(v, sums.zeros[row]) if sums.zeros else kept[v]
                sums.accumulators.update(row, v, _adding(dot, values, weights))

    def _add_excess(self, sums: _Sums) -> None:
        excess, at, bounds = (
            self.weights.excess, self.weights.excess_at, self.weights.excess_bounds,
        )  # fmt: skip
        if excess is None or at is None or bounds is None:
            return
        emitter = self.emitter
        low, high = (
            emitter.bind("bound", tirx.Cast("int64", load(bounds, sums.panel + index(end))))
            for end in range(2)
        )
        with emitter.loop(high - low, "excess", start=low) as step:
            group = emitter.bind("group", tirx.Cast("int64", load(at, step)))
            tap = emitter.bind("tap", group // index(self.weights.groups))
            within = emitter.bind("within", group % index(self.weights.groups))
            self._multiply(
                sums,
                1,
                lambda _, place: load(excess, step, place),
                lambda row, _: sums.row_word(row, tap, within),
            )


def _adding(
    dot: DotProduct, values: list[tirx.Expr], weights: list[tirx.Expr]
) -> Callable[[tirx.Expr], tirx.Expr]:
    return lambda total: dot.add(total, values, weights)
