"""Attention of many rows of queries, in tiles of two vectors of them.

A task takes a tile of one head of keys through all three steps; the scores of its rows stay in the
first- or second-level cache and never become a tensor.

Scores are kept transposed, [keys][query rows], so that the lanes of a vector are query rows:

* K and V are read where they lie, [.., key, feature], without packing: the scores' multiply-adds
  broadcast single elements of K against vectors of transposed query rows, those of the result
  broadcast single weights against vectors of V's features. Only the task's few query rows are
  transposed (and scaled) first. So splitting the rows among threads repeats no work.
* The softmax's maximum and sum run down the keys, without reductions across lanes, and any number
  of keys needs no masked remainder.
* A mask that differs per row is transposed first, to where the scores go; one that does not is
  broadcast. Of a causal mask a task leaves out the keys that none of its rows sees.

The sum of weights is divided out of the result's rows (as in Dao et al., "FlashAttention", 2022),
not out of the weights. Both products accumulate in registers: a tile of some keys x vectors of
query rows, then of some query rows x vectors of features (see ``tiles``).
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Callable, Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.attention.access import Access
from ingot.targets.cpu.kernels.attention.scores import (
    LOWEST,
    MINUS_INFINITY,
    Adjustment,
    inverse_sum,
    scaled_result,
)
from ingot.targets.cpu.kernels.tiling.tiles import Run, choose_panels, most_rows, split_rows
from ingot.targets.cpu.kernels.writing.dimension import Dim, ceil_div
from ingot.targets.cpu.kernels.writing.emission import index, load, splat, vector_at
from ingot.targets.cpu.kernels.writing.lanes import shuffle, transpose
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

# Vectors of query rows in a tile, where these do not leave many lanes empty.
_TWO_VECTORS = 2
# Keys whose scores are passed over at a time, on every processor: the order of sums stays the same.
_KEYS_TOGETHER = 2


def write_tiles(access: Access, cpu: CpuDescription) -> None:
    """Writes the loops over all tiles.

    Args:
        access: The operands, and where the statements go.
        cpu: The processor that code is made for.
    """
    _Tiles(access, cpu).write()


class _Tiles:
    """The code while it is written, and what its steps share."""

    first_row: tirx.Var
    # The keys of the open task.
    keys: Dim

    def __init__(self, access: Access, cpu: CpuDescription) -> None:
        self.access, self.problem, self.cpu = access, access.problem, cpu
        self.emitter = access.emitter
        self.lanes = cpu.float_lanes
        self.vectors = self._choose_vectors()
        self.rows = self.vectors * self.lanes
        self.adjustment = Adjustment(access)

    def _choose_vectors(self) -> int:
        """Two vectors of query rows, unless that leaves many lanes empty."""
        rows = self.problem.rows
        if not isinstance(rows, int):
            return _TWO_VECTORS
        narrow = ceil_div(rows, self.lanes)
        wide = ceil_div(rows, _TWO_VECTORS * self.lanes) * _TWO_VECTORS
        return 1 if narrow < 0.9 * wide else _TWO_VECTORS

    def write(self) -> None:
        problem, emitter = self.problem, self.emitter
        operations = problem.operations()
        tiles = ceil_div(problem.rows, self.rows)
        tasks = problem.batch * problem.heads * tiles

        def emit_task(task: tirx.Expr) -> None:
            self.access.select(task // index(tiles))
            self.first_row = emitter.bind("first_row", task % index(tiles) * self.rows)
            self.keys = self._seen()
            self._task()

        if operations is None:
            # Two copies of so much code would cost more than a parallel loop of little work.
            with emitter.parallel(tasks, "task") as task:
                emit_task(task)
        else:
            share_tasks(emitter, tasks, operations, emit_task, self.cpu)

    def _seen(self) -> Dim:
        """Returns how many keys the tile's last query sees."""
        problem = self.problem
        if problem.causal is None:
            return problem.keys
        last = tirx.min(self.first_row + self.rows, index(problem.rows)) - 1
        query = last
        if problem.group > 1:
            queries = index(problem.queries)
            one_head = self.first_row // queries == last // queries
            query = tirx.Select(one_head, last % queries, queries - 1)
        seen = tirx.min(query + index(problem.causal) + 1, index(problem.keys))
        return self.emitter.bind("seen", tirx.max(seen, index(0)))

    def _task(self) -> None:
        problem, emitter = self.problem, self.emitter
        queries = emitter.allocate("queries", (problem.features * self.rows,))
        # For all keys, also where fewer are seen: TVM allocates outside of a serial loop.
        scores = emitter.allocate("scores", (problem.keys * self.rows,))
        scale = self.adjustment.scale
        self._transpose_into(queries, problem.features, self._read_query, scale)
        if problem.mask is not None and problem.mask.varies_by_row(problem.group):
            blocks = problem.mask.has_vectors
            self._transpose_into(scores, self.keys, self._read_mask, 1.0, blocks=blocks)
        self._scores(queries, scores)
        largest = self._largest(scores)
        inverses = self._exponentials(scores, largest)
        self._results(scores, inverses)

    # What is read. Query rows beyond the last one are taken to be the last.

    def _row(self, row: Dim) -> Dim:
        position = self.first_row + row
        if self._all_rows_exist():
            return position
        return tirx.min(position, index(self.problem.rows) - 1)

    def _all_rows_exist(self) -> bool:
        rows = self.problem.rows
        return isinstance(rows, int) and rows % self.rows == 0

    def _read_query(self, row: Dim, feature: Dim, lanes: int) -> tirx.Expr:
        return self.access.read_query(self._row(row), feature, lanes)

    def _read_mask(self, row: Dim, position: Dim, lanes: int) -> tirx.Expr:
        return self.access.read_mask(self._row(row), position, lanes)

    # Query rows and masks become columns.

    def _transpose_into(
        self,
        target: tirx.Buffer,
        width: Dim,
        read: Callable[[Dim, Dim, int], tirx.Expr],
        scale: float,
        *,
        blocks: bool = True,
    ) -> None:
        """Writes the tile's rows as columns: ``target[column * rows + row]``."""
        emitter, lanes = self.emitter, self.lanes
        done = width // lanes * lanes if blocks else 0
        if not isinstance(done, int) or done > 0:
            with (
                emitter.loop(done // lanes, "block") as block,
                emitter.loop(self.vectors, "vector") as vector,
            ):
                first = vector * lanes
                rows = [read(first + row, block * lanes, lanes) for row in range(lanes)]
                for lane, column in enumerate(transpose(emitter, rows)):
                    start = (block * lanes + lane) * self.rows + first
                    scaled = column if scale == 1.0 else column * splat(scale, lanes)
                    emitter.store(target, scaled, [vector_at(start, lanes)])
        left = width - done
        if not isinstance(left, int) or left > 0:
            with (
                emitter.loop(left, "left", start=done) as column,
                emitter.loop(self.rows, "row") as row,
            ):
                scaled = read(row, column, 1) * tirx.const(scale, "float32")
                emitter.store(target, scaled, [column * self.rows + row])

    # Scores.

    def _scores(self, queries: tirx.Buffer, scores: tirx.Buffer) -> None:
        keys, buffers = self.keys, (queries, scores, *self._last_keys())
        if isinstance(keys, int):
            for run in split_rows(keys, self.vectors, self.cpu):
                self._score_run(run.start, run.count, run.rows, buffers)
            return
        height = most_rows(self.vectors, self.cpu)
        full = keys // height
        self._score_run(0, full, height, buffers)
        rest = self.emitter.bind("rest", keys - full * height)
        # What is left is cut into powers of two, so that a few tiles' code serves all remainders.
        for power in reversed(range((height - 1).bit_length())):
            with self.emitter.when((rest // 2**power) % 2 > 0):
                done = self.emitter.bind("done", keys - rest % 2 ** (power + 1))
                self._score_run(done, 1, 2**power, buffers)

    def _last_keys(self) -> list[tirx.Buffer]:
        """Of a causal mask: the last key that each row sees."""
        problem, emitter = self.problem, self.emitter
        if problem.causal is None:
            return []
        buffer = emitter.allocate("last_keys", (self.rows,), "int32")
        with emitter.loop(self.rows, "row") as row:
            last = self.access.query_of(self._row(row)) + index(problem.causal)
            emitter.store(buffer, tirx.Cast("int32", last), [row])
        return [buffer]

    def _score_run(
        self, start: Dim, count: Dim, height: int, buffers: tuple[tirx.Buffer, ...]
    ) -> None:
        with self.emitter.loop(count, "tile") as tile:
            self._score_tile(self.emitter.bind("key", tile * height + start), height, *buffers)

    def _score_tile(
        self,
        first: tirx.Var,
        height: int,
        queries: tirx.Buffer,
        scores: tirx.Buffer,
        last_keys: tirx.Buffer | None = None,
    ) -> None:
        """Multiplies some keys with the tile's query rows."""
        emitter, lanes, rows = self.emitter, self.lanes, self.rows
        sums = emitter.allocate("sums", (height * rows,))
        places = [(key, lane) for key in range(height) for lane in range(0, rows, lanes)]
        for key, lane in places:
            emitter.store(sums, splat(0.0, lanes), [vector_at(key * rows + lane, lanes)])
        with emitter.loop(self.problem.features, "feature") as feature:
            query = [
                emitter.bind("query", load(queries, vector_at(feature * rows + lane, lanes)))
                for lane in range(0, rows, lanes)
            ]
            for key in range(height):
                single = self.access.read_key(first + key, feature)
                wide = emitter.bind("key", splat(single, lanes))
                for vector, part in enumerate(query):
                    place = vector_at(key * rows + vector * lanes, lanes)
                    emitter.store(sums, load(sums, place) + wide * part, [place])
        for key, lane in places:
            place = vector_at((first + key) * rows + lane, lanes)
            score = load(sums, vector_at(key * rows + lane, lanes))
            score = self.adjustment.adjusted(
                score, lanes, functools.partial(self._mask, first + key, scores, place)
            )
            if last_keys is not None:
                shown = splat(tirx.Cast("int32", first + key), lanes)
                shown = shown <= load(last_keys, vector_at(lane, lanes))
                score = tirx.Select(shown, score, splat(MINUS_INFINITY, lanes))
            emitter.store(scores, score, [place])

    def _mask(self, key: tirx.Expr, scores: tirx.Buffer, place: tirx.Expr) -> tirx.Expr:
        assert self.problem.mask is not None
        if self.problem.mask.varies_by_row(self.problem.group):
            return load(scores, place)
        return splat(self._read_mask(0, key, 1), self.lanes)

    # Weights and the result.

    def _for_keys(self, action: Callable[[tirx.Expr, int], None]) -> None:
        """Goes through the scores, some keys' as one wide vector: at an index, of some lanes.

        The code of a wide vector has independent instructions side by side, and loads a constant
        once for all of them.
        """
        keys, wide = self.keys, _KEYS_TOGETHER * self.rows
        with self.emitter.loop(keys // _KEYS_TOGETHER, "keys") as number:
            place = vector_at(number * wide, wide)
            action(place, wide)
        left = keys % _KEYS_TOGETHER
        if not isinstance(left, int) or left > 0:
            with self.emitter.loop(left, "key", start=keys - left) as key:
                action(vector_at(key * self.rows, self.rows), self.rows)

    def _fold(
        self, wide: tirx.Buffer, combine: Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
    ) -> tirx.Var:
        """Combines the parts of a wide vector, one for each of several keys."""
        parts = [load(wide, vector_at(key * self.rows, self.rows)) for key in range(_KEYS_TOGETHER)]
        return self.emitter.bind("folded", functools.reduce(combine, parts))

    def _largest(self, scores: tirx.Buffer) -> tirx.Var:
        """Returns the largest score of each query row.

        A pass of its own: the registers of the scores' tiles are all taken.
        """
        emitter, wide = self.emitter, _KEYS_TOGETHER * self.rows
        largest = emitter.allocate("largest", (wide,))
        emitter.store(largest, splat(LOWEST, wide), [vector_at(0, wide)])

        def keep_larger(place: tirx.Expr, lanes: int) -> None:
            known = vector_at(0, lanes)
            emitter.store(largest, tirx.max(load(largest, known), load(scores, place)), [known])

        self._for_keys(keep_larger)
        return self._fold(largest, tirx.max)

    def _exponentials(self, scores: tirx.Buffer, largest: tirx.Var) -> tirx.Buffer:
        """Makes weights of scores; returns the inverses of the weights' sums."""
        emitter, wide = self.emitter, _KEYS_TOGETHER * self.rows
        sums = emitter.allocate("weight_sums", (wide,))
        emitter.store(sums, splat(0.0, wide), [vector_at(0, wide)])
        peaks = emitter.bind("peaks", shuffle([largest] * _KEYS_TOGETHER, range(wide)))

        def weigh(place: tirx.Expr, lanes: int) -> None:
            known = vector_at(0, lanes)
            peak = peaks if lanes == wide else largest
            weight = emitter.bind("weight", tirx.exp(load(scores, place) - peak))
            emitter.store(scores, weight, [place])
            emitter.store(sums, load(sums, known) + weight, [known])

        self._for_keys(weigh)
        total = self._fold(sums, operator.add)
        inverses = emitter.allocate("inverses", (self.rows,))
        inverse = inverse_sum(self.problem, largest, total, self.rows)
        emitter.store(inverses, inverse, [vector_at(0, self.rows)])
        return inverses

    def _results(self, weights: tirx.Buffer, inverses: tirx.Buffer) -> None:
        features = self.problem.value_features
        panels = choose_panels(features, self.rows, self.cpu)
        starts = range(0, panels.width, self.lanes)
        if panels.full:
            with self.emitter.loop(panels.full, "panel") as panel:
                columns = [panel * panels.width + start for start in starts]
                self._result_panel(columns, weights, inverses)
        if panels.last_columns:
            # A vector that would reach beyond the last column begins earlier instead.
            starts = range(features - panels.last_columns, features, self.lanes)
            columns = [index(max(0, min(start, features - self.lanes))) for start in starts]
            self._result_panel(columns, weights, inverses)

    def _result_panel(
        self, columns: Sequence[tirx.Expr], weights: tirx.Buffer, inverses: tirx.Buffer
    ) -> None:
        for run in split_rows(self.rows, len(columns), self.cpu):
            with self.emitter.loop(self._existing(run), "tile") as tile:
                first = self.emitter.bind("first", tile * run.rows + run.start)
                self._result_tile(first, run.rows, columns, weights, inverses)

    def _existing(self, run: Run) -> Dim:
        """Returns how many of a run's tiles have rows that exist."""
        if self._all_rows_exist():
            return run.count
        there = index(self.problem.rows) - self.first_row - run.start
        return tirx.max(tirx.min(ceil_div(there, run.rows), index(run.count)), index(0))

    def _result_tile(
        self,
        first: tirx.Expr,
        height: int,
        columns: Sequence[tirx.Expr],
        weights: tirx.Buffer,
        inverses: tirx.Buffer,
    ) -> None:
        """Multiplies some rows of weights with some vectors of V's columns."""
        emitter, access = self.emitter, self.access
        lanes = min(self.lanes, self.problem.value_features)
        width = len(columns) * lanes
        sums = emitter.allocate("sums", (height * width,))
        places = [
            [vector_at(start + lane, lanes) for lane in range(0, width, lanes)]
            for start in range(0, height * width, width)
        ]
        for start in range(0, height * width, lanes):
            emitter.store(sums, splat(0.0, lanes), [vector_at(start, lanes)])
        with emitter.loop(self.keys, "key") as key:
            values = [
                emitter.bind("value", access.read_value(key, column, lanes)) for column in columns
            ]
            for row, row_places in enumerate(places):
                single = load(weights, key * self.rows + first + row)
                weight = emitter.bind("weight", splat(single, lanes))
                for place, value in zip(row_places, values, strict=True):
                    emitter.store(sums, load(sums, place) + weight * value, [place])
        for row, row_places in enumerate(places):
            with self._where_row_exists(first + row):
                inverse = emitter.bind("inverse", splat(load(inverses, first + row), lanes))
                for place, column in zip(row_places, columns, strict=True):
                    result = scaled_result(self.problem, load(sums, place), inverse, lanes)
                    access.store_result(result, self.first_row + first + row, column, lanes)

    def _where_row_exists(self, row: tirx.Expr) -> contextlib.AbstractContextManager[None]:
        if self._all_rows_exist():
            return contextlib.nullcontext()
        return self.emitter.when(self.first_row + row < self.problem.rows)
