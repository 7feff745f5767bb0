"""Attention of a few rows of queries and many keys: text that is generated token by token.

Keys and values are read once, and that is what it takes; nothing is transposed but sums. A task
takes one head of keys:

* The scores of as many keys as a vector has lanes are as many vectors of products, along features,
  whose lanes are then summed by one transposition of them all. They lie by row, one key's after the
  other's, so that maxima and exponentials go along them in vectors.
* The result goes along the features of values in vectors, some keys of all rows at a time, so that
  the values that one row reads are in the first-level cache for the next.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable

from tvm import tirx

from ingot.targets.cpu.kernels.attention.access import Access
from ingot.targets.cpu.kernels.attention.problem import Attention
from ingot.targets.cpu.kernels.attention.scores import (
    LOWEST,
    MINUS_INFINITY,
    Adjustment,
    inverse_sum,
    scaled_result,
)
from ingot.targets.cpu.kernels.writing.dimension import Dim, ceil_div
from ingot.targets.cpu.kernels.writing.emission import index, load, splat, vector_at
from ingot.targets.cpu.kernels.writing.lanes import reduce_lanes, shuffle, transpose
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription

# More rows than these are quicker in tiles: there a score takes one instruction for each feature
# and vector of rows, here a row takes them all.
MOST_FEW_ROWS = 6
_FEWEST_LANES = 4
# Vectors of one row's features that are held in registers.
_MOST_VECTORS = 16
# Keys whose values stay in the first-level cache while all rows read them.
_KEYS_AT_A_TIME = 32


def takes_few_rows(problem: Attention, cpu: CpuDescription) -> bool:
    """Whether this code takes a problem: features in vectors, those of keys neighbours too."""
    return (
        problem.key.axes[-1].endswith("d")
        and _fits(problem.features, cpu)
        and _fits(problem.value_features, cpu)
    )


def _fits(features: int, cpu: CpuDescription) -> bool:
    lanes = math.gcd(features, cpu.float_lanes)
    return lanes >= _FEWEST_LANES and features // lanes <= _MOST_VECTORS


def write_few_rows(access: Access, cpu: CpuDescription) -> None:
    """Writes the loops over all heads of keys.

    Args:
        access: The operands, and where the statements go.
        cpu: The processor that code is made for.
    """
    _FewRows(access, cpu).write()


class _FewRows:
    """The code while it is written, and what its steps share."""

    keys: Dim

    def __init__(self, access: Access, cpu: CpuDescription) -> None:
        self.access, self.problem, self.cpu = access, access.problem, cpu
        self.emitter = access.emitter
        self.lanes = math.gcd(self.problem.features, cpu.float_lanes)
        self.value_lanes = math.gcd(self.problem.value_features, cpu.float_lanes)
        self.vectors = self.problem.features // self.lanes
        self.value_vectors = self.problem.value_features // self.value_lanes
        self.adjustment = Adjustment(access)

    def write(self) -> None:
        problem, emitter = self.problem, self.emitter

        def emit_task(task: tirx.Expr) -> None:
            self.access.select(task)
            self.keys = self._seen()
            # Rows of scores begin with a vector.
            stride = emitter.bind("stride", index(ceil_div(self.keys, self.lanes) * self.lanes))
            queries = emitter.allocate("queries", (problem.rows * problem.features,))
            scores = emitter.allocate("scores", (problem.rows * stride,))
            inverses = emitter.allocate("inverses", (problem.rows,))
            self._scale(queries)
            self._scores(queries, scores, stride)
            with emitter.loop(problem.rows, "row") as row:
                self._weights(scores, row * stride, stride, inverses, row)
            self._results(scores, stride, inverses)

        share_tasks(emitter, problem.batch * problem.heads, problem.work(), emit_task, self.cpu)

    def _seen(self) -> Dim:
        """Returns how many keys the last query sees."""
        problem = self.problem
        if problem.causal is None:
            return problem.keys
        seen = tirx.min(index(problem.queries) + index(problem.causal), index(problem.keys))
        return self.emitter.bind("seen", tirx.max(seen, index(0)))

    def _scale(self, queries: tirx.Buffer) -> None:
        emitter, lanes = self.emitter, self.lanes
        with emitter.loop(self.problem.rows, "row") as row:
            for start in range(0, self.problem.features, lanes):
                value = self.access.read_query(row, start, lanes)
                value = value * splat(self.adjustment.scale, lanes)
                at = vector_at(row * self.problem.features + start, lanes)
                emitter.store(queries, value, [at])

    # Scores.

    def _scores(self, queries: tirx.Buffer, scores: tirx.Buffer, stride: tirx.Expr) -> None:
        emitter, lanes, rows = self.emitter, self.lanes, self.problem.rows
        full = self.keys // lanes
        with emitter.loop(full, "block") as block, emitter.loop(rows, "row") as row:
            first = emitter.bind("first", block * lanes)
            products = self._products(queries, row, [first + key for key in range(lanes)])
            score = self._adjusted(products, row, first, lanes)
            emitter.store(scores, score, [vector_at(row * stride + first, lanes)])
        left = self.keys % lanes
        if isinstance(left, int) and not left:
            return
        with (
            emitter.when(index(left) > 0),
            emitter.loop(rows, "row") as row,
        ):
            # Keys beyond the last are taken to be the last, and then take no part.
            first, last = index(full * lanes), index(self.keys) - 1
            keys = [tirx.min(first + key, last) for key in range(lanes)]
            place = emitter.bind("place", row * stride + first)
            emitter.store(scores, self._products(queries, row, keys), [vector_at(place, lanes)])
            with emitter.loop(left, "key") as key:
                product = load(scores, place + key)
                emitter.store(scores, self._adjusted(product, row, first + key, 1), [place + key])
            with emitter.loop(index(lanes) - left, "beyond", start=left) as key:
                emitter.store(scores, splat(MINUS_INFINITY, 1), [place + key])

    def _products(self, queries: tirx.Buffer, row: tirx.Expr, keys: list[tirx.Expr]) -> tirx.Expr:
        """Returns the products of a row's query with as many keys as there are lanes."""
        emitter, lanes = self.emitter, self.lanes
        starts = range(0, self.problem.features, lanes)
        query = [
            emitter.bind("query", load(queries, vector_at(row * self.problem.features + start,
                                                          lanes)))
            for start in starts
        ]  # fmt: skip
        sums = []
        for key in keys:
            parts = [
                part * self.access.read_key(key, start, lanes)
                for part, start in zip(query, starts, strict=True)
            ]
            sums.append(emitter.bind("products", functools.reduce(operator.add, parts)))
        return _sum_of(emitter.bind, transpose(emitter, sums))

    def _adjusted(
        self, product: tirx.Expr, row: tirx.Expr, key: tirx.Expr, lanes: int
    ) -> tirx.Expr:
        def mask() -> tirx.Expr:
            assert self.problem.mask is not None
            if lanes > 1 and not self.problem.mask.has_vectors:
                places = [self.access.read_mask(row, key + lane, 1) for lane in range(lanes)]
                if self.problem.mask.broadcast[-1]:
                    return splat(places[0], lanes)
                return shuffle(places, range(lanes))
            return self.access.read_mask(row, key, lanes)

        score = self.adjustment.adjusted(product, lanes, mask)
        if self.problem.causal is None:
            return score
        last = self.access.query_of(row) + index(self.problem.causal)
        if lanes == 1:
            return tirx.Select(key <= last, score, splat(MINUS_INFINITY, 1))
        ahead = tirx.Broadcast(tirx.Cast("int32", last - key), lanes)
        shown = tirx.Ramp(tirx.IntImm("int32", 0), tirx.IntImm("int32", 1), lanes) <= ahead
        return tirx.Select(shown, score, splat(MINUS_INFINITY, lanes))

    # Weights and the result.

    def _weights(
        self,
        scores: tirx.Buffer,
        begin: tirx.Expr,
        stride: tirx.Expr,
        inverses: tirx.Buffer,
        row: tirx.Expr,
    ) -> None:
        """Makes weights of a row's scores, and stores the inverse of their sum."""
        emitter, lanes = self.emitter, self.lanes
        whole = vector_at(0, lanes)
        largest = emitter.allocate("largest", (lanes,))
        emitter.store(largest, splat(LOWEST, lanes), [whole])
        with emitter.loop(stride // lanes, "vector") as number:
            score = load(scores, vector_at(begin + number * lanes, lanes))
            emitter.store(largest, tirx.max(load(largest, whole), score), [whole])
        peak = reduce_lanes(emitter, load(largest, whole), lanes, tirx.max)
        total = emitter.allocate("total", (lanes,))
        emitter.store(total, splat(0.0, lanes), [whole])
        with emitter.loop(stride // lanes, "vector") as number:
            place = vector_at(begin + number * lanes, lanes)
            weight = emitter.bind("weight", tirx.exp(load(scores, place) - splat(peak, lanes)))
            emitter.store(scores, weight, [place])
            emitter.store(total, load(total, whole) + weight, [whole])
        summed = reduce_lanes(emitter, load(total, whole), lanes, operator.add)
        emitter.store(inverses, inverse_sum(self.problem, peak, summed, 1), [row])

    def _results(self, weights: tirx.Buffer, stride: tirx.Expr, inverses: tirx.Buffer) -> None:
        problem, emitter, lanes = self.problem, self.emitter, self.value_lanes
        width = problem.value_features
        sums = emitter.allocate("sums", (problem.rows * width,))
        with emitter.loop(problem.rows * self.value_vectors, "vector") as number:
            emitter.store(sums, splat(0.0, lanes), [vector_at(number * lanes, lanes)])
        blocks = ceil_div(self.keys, _KEYS_AT_A_TIME)
        with emitter.loop(blocks, "block") as block, emitter.loop(problem.rows, "row") as row:
            first = emitter.bind("first", block * _KEYS_AT_A_TIME)
            end = tirx.min(first + _KEYS_AT_A_TIME, index(self.keys))
            self._add_values(weights, row * stride, (first, end), sums, row * width)
        with emitter.loop(problem.rows, "row") as row:
            inverse = emitter.bind("inverse", splat(load(inverses, row), lanes))
            for start in range(0, width, lanes):
                value = load(sums, vector_at(row * width + start, lanes))
                value = scaled_result(problem, value, inverse, lanes)
                self.access.store_result(value, row, start, lanes)

    def _add_values(
        self,
        weights: tirx.Buffer,
        begin: tirx.Expr,
        keys: tuple[tirx.Expr, tirx.Expr],
        sums: tirx.Buffer,
        place: tirx.Expr,
    ) -> None:
        """Adds the weighted values of some keys to a row's sums."""
        emitter, lanes, width = self.emitter, self.value_lanes, self.problem.value_features
        starts = range(0, width, lanes)
        # As many keys side by side as it takes for enough sums.
        together = max(1, self.cpu.core.chains // self.value_vectors)
        running = [emitter.allocate("running", (width,)) for _ in range(together)]
        for number, buffer in enumerate(running):
            for start in starts:
                old = load(sums, vector_at(place + start, lanes))
                value = old if number == 0 else splat(0.0, lanes)
                emitter.store(buffer, value, [vector_at(start, lanes)])

        def add(key: tirx.Expr, buffer: tirx.Buffer) -> None:
            weight = emitter.bind("weight", splat(load(weights, begin + key), lanes))
            for start in starts:
                at = vector_at(start, lanes)
                value = self.access.read_value(key, start, lanes)
                emitter.store(buffer, load(buffer, at) + weight * value, [at])

        first, end = keys
        whole = emitter.bind("whole", (end - first) // together)
        with emitter.loop(whole, "keys") as number:
            for which, buffer in enumerate(running):
                add(first + number * together + which, buffer)
        if together > 1:
            with emitter.loop(end - first - whole * together, "key") as key:
                add(first + whole * together + key, running[0])
        for start in starts:
            at = vector_at(start, lanes)
            total = functools.reduce(operator.add, [load(buffer, at) for buffer in running])
            emitter.store(sums, total, [vector_at(place + start, lanes)])


def _sum_of(bind: Callable[[str, tirx.Expr], tirx.Var], vectors: list[tirx.Expr]) -> tirx.Expr:
    """Adds vectors in pairs."""
    while len(vectors) > 1:
        vectors = [bind("sum", a + b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]
