"""The innermost loop of convolution and matmul: a tile of accumulators in registers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from tvm import sym, tirx

from ingot.targets.cpu.kernels.fusion.epilogue import Epilogue
from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, splat, vector_at

# Loads a scalar of a row's operand at a step of the reduction.
RowOperand = Callable[[int, tirx.Expr], tirx.Expr]
# Loads a vector of a panel's weights at a step of the reduction.
PanelOperand = Callable[[int, tirx.Expr], tirx.Expr]


class Accumulators:
    """A tile of ``rows`` x ``vectors`` accumulators.

    All its indices are constants, so that LLVM keeps each vector in a register.
    """

    def __init__(
        self,
        emitter: Emitter,
        rows: int,
        vectors: int,
        lanes: int,
        initial: float | Sequence[tirx.Expr] = 0.0,
        dtype: str = "float32",
    ) -> None:
        """Allocates the tile and sets it to its initial value.

        Args:
            emitter: Where the statements go.
            rows: Rows of the tile.
            vectors: Vectors of a row.
            lanes: Elements of a vector.
            initial: A value for all, or a vector for each of a row's.
            dtype: Type of the accumulators.
        """
        self.rows, self.vectors, self.lanes = rows, vectors, lanes
        self._emitter = emitter
        # One allocation per row: TVM takes more than a kilobyte from its workspace, which LLVM
        # cannot replace by registers from the first store to the last.
        self._buffers = [
            emitter.allocate("accumulators", [vectors * lanes], dtype) for _ in range(rows)
        ]
        for buffer in self._buffers:
            for vector in range(vectors):
                value = splat(initial, lanes) if isinstance(initial, float) else initial[vector]
                emitter.store(buffer, value, [vector_at(vector * lanes, lanes)])

    def step(
        self,
        at: tirx.Expr,
        row_operand: RowOperand,
        panel_operand: PanelOperand,
        rows: Sequence[int] | None = None,
    ) -> None:
        """Adds one step of the reduction: an outer product of a column and a row vector.

        Args:
            at: The step.
            row_operand: The rows' scalars.
            panel_operand: The panel's vectors.
            rows: The rows that take part; all by default.
        """
        emitter, lanes = self._emitter, self.lanes
        weights = [
            emitter.bind("weights", panel_operand(vector, at)) for vector in range(self.vectors)
        ]
        for row in range(self.rows) if rows is None else rows:
            value = emitter.bind("value", splat(row_operand(row, at), lanes))
            for vector, weight in enumerate(weights):
                place = vector_at(vector * lanes, lanes)
                total = load(self._buffers[row], place) + value * weight
                emitter.store(self._buffers[row], total, [place])

    def vector(self, row: int, vector: int) -> tirx.Expr:
        """Returns one of the accumulators."""
        return load(self._buffers[row], vector_at(vector * self.lanes, self.lanes))

    def update(self, row: int, vector: int, function: Callable[[tirx.Expr], tirx.Expr]) -> None:
        """Replaces one of the accumulators by a function of it."""
        place = vector_at(vector * self.lanes, self.lanes)
        buffer = self._buffers[row]
        self._emitter.store(buffer, function(load(buffer, place)), [place])

    def fold(self, combine: Callable[[tirx.Expr, tirx.Expr], tirx.Expr]) -> None:
        """Combines the tile's rows into its first, which is all that is left of it."""
        while self.rows > 1:
            half = (self.rows + 1) // 2
            for row in range(half, self.rows):
                for vector in range(self.vectors):
                    at = vector_at(vector * self.lanes, self.lanes)
                    other = self._emitter.bind("other", load(self._buffers[row], at))
                    self.update(row - half, vector, functools.partial(combine, other))
            self.rows = half

    def exchange(
        self, buffer: tirx.Buffer, first: Sequence[tirx.Expr], *, store: bool, column: int = 0
    ) -> None:
        """Stores the tile as it is, or takes it over from a buffer.

        Args:
            buffer: Its last axis is as long as the tile's columns at least.
            first: The indices of the tile's first row, without the column.
            store: Whether to store.
            column: The column of the buffer that the tile's first one is.
        """
        for row in range(self.rows):
            for vector in range(self.vectors):
                own = self._buffers[row]
                at = vector_at(vector * self.lanes, self.lanes)
                there = [
                    *first[:-1],
                    first[-1] + index(row),
                    vector_at(column + vector * self.lanes, self.lanes),
                ]
                if store:
                    self._emitter.store(buffer, load(own, at), there)
                else:
                    self._emitter.store(own, load(buffer, *there), [at])

    def store(
        self,
        epilogue: Epilogue,
        position: Callable[[int], Sequence[tirx.Expr]],
        column: tirx.Expr,
        columns: int,
    ) -> None:
        """Stores the tile through an epilogue.

        Args:
            epilogue: What is made of the accumulated values.
            position: Returns the leading coordinates of a row.
            column: The tile's first column.
            columns: How many of its columns belong to the result.
        """
        for row in range(self.rows):
            leading = position(row)
            first = 0
            for wide in vectors_at_once(columns, self.vectors, self.lanes):
                epilogue.store(
                    self._emitter,
                    self._buffers[row],
                    first * self.lanes,
                    [*leading, column + index(first * self.lanes)],
                    lanes=self.lanes * wide,
                    valid=columns - first * self.lanes,
                )
                first += wide


def vectors_at_once(columns: int, vectors: int, lanes: int) -> list[int]:
    """Returns how many of a row's vectors go through an epilogue side by side each time.

    Several chains of dependent instructions hide each other's latency, share their constants, and
    narrow to 8 bits together. They are powers of two: LLVM takes a value of three vectors apart
    into its elements.

    Args:
        columns: Columns that belong to the result.
        vectors: Vectors of the row.
        lanes: Columns of a vector.
    """
    if columns < vectors * lanes:
        return [1] * vectors
    parts: list[int] = []
    while (left := vectors - sum(parts)) > 0:
        parts.append(next(wide for wide in (4, 2, 1) if wide <= left))
    return parts


def each_panel(
    emitter: Emitter,
    panels: Panels,
    bounds: tuple[tirx.Expr, tirx.Expr],
    body: Callable[[tirx.Expr, int], None],
) -> None:
    """Goes through the panels from the first bound up to the second.

    Args:
        emitter: Where the statements go.
        panels: The panels.
        bounds: The first panel, and one more than the last.
        body: Writes the code for a panel and the number of its columns; called once for full
            panels, and once for the narrower last one if there is one.
    """
    low, high = bounds
    if panels.full:
        end = tirx.Min(high, index(panels.full)) if panels.last_columns else high
        extent = sym.Analyzer().simplify(end - low)
        with emitter.loop(extent, "panel", start=low) as panel:
            body(panel, panels.width)
    if panels.last_columns:
        with emitter.when(high > index(panels.full)):
            body(index(panels.full), panels.last_columns)


def each_panel_of_groups(
    emitter: Emitter,
    panels: Panels,
    bounds: tuple[tirx.Expr, tirx.Expr],
    body: Callable[[tirx.Expr, int], None],
) -> None:
    """Goes through the panels of groups of columns from the first bound up to the second.

    Args:
        emitter: Where the statements go.
        panels: Those of one group; the next group's are counted behind them.
        bounds: The first group, and one more than the last.
        body: As for :func:`each_panel`.
    """
    low, high = bounds
    with emitter.loop(high - low, "group", start=low) as group:
        before = emitter.bind("panels_before", group * index(panels.count))
        each_panel(
            emitter,
            panels,
            (index(0), index(panels.count)),
            lambda panel, columns: body(before + panel, columns),
        )
