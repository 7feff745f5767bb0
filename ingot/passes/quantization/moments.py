"""Second moments of a layer's input: what a weight's rounding error does to the layer's output.

With the patches (or rows) that a layer multiplies as the columns of X, the squared error of the
output that an error E of the weights makes is trace(E X X' E'): the mean and X X' say all that
layer-wise methods need, whatever the number of samples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.passes.quantization.linear import LinearLayer
from ingot.passes.quantization.walk import patches_of

Array = npt.NDArray[Any]
Wide = npt.NDArray[np.float64]

# Rows of X X' per input: more than this add little but time.
_ROWS_PER_INPUT = 16
_FEWEST_ROWS = 16384
# Of a matrix of pairs: few enough to stay in cache while they are worked on.
_ROWS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class Moments:
    """Of the inputs of a layer, by group (one for products and plain convolutions).

    Attributes:
        count: Patches seen; of none, the others are zero.
        mean: Their mean, [groups, inputs].
        covariance: Centered second moments of the patches, [groups, inputs, inputs].
        reliable: The part of the correlations between inputs that is no chance, [groups].
    """

    count: int
    mean: Wide
    covariance: Wide
    reliable: Wide


def moments(layer: LinearLayer, values: Iterable[Array], seed: int = 0) -> Moments:
    """Collects the moments of a layer's input.

    Args:
        layer: The layer.
        values: Its input, one array per batch.
        seed: Of the choice of patches, where there are more than are needed.
    """
    generator = np.random.default_rng(seed)
    batches = [array for array in values if array.size]
    inputs = layer.to_rows(layer.array()).shape[1]
    halves = [_Sums.zero(layer.groups, inputs) for _ in range(2)]
    frame: _Frame | None = None
    wanted = max(_FEWEST_ROWS, _ROWS_PER_INPUT * inputs) // max(len(batches), 1) + 1
    for half, part in enumerate(_in_halves(batches)):
        waiting: list[Array] = []
        for index, array in enumerate(part):
            waiting.append(input_rows(layer, array, wanted, generator))
            # Small samples together: each product writes a matrix of all pairs of inputs.
            if index == len(part) - 1 or sum(one.shape[1] for one in waiting) >= inputs:
                rows = np.concatenate(waiting, axis=1)
                frame = frame or _Frame.of(rows)
                halves[half].add(frame.normalized(rows))
                waiting.clear()
    if frame is None:
        unknown = halves[0]
        return Moments(0, unknown.total, unknown.squares, np.zeros(layer.groups))
    return _finish(halves[0], halves[1], frame)


def _in_halves(batches: Sequence[Array]) -> tuple[Sequence[Array], Sequence[Array]]:
    """Divides samples in two; one batch by its examples, a vector not at all."""
    if len(batches) == 1:
        middle = len(batches[0]) // 2 if batches[0].ndim > 1 else 0
        return [batches[0][middle:]], [batches[0][:middle]] if middle else []
    return batches[0::2], batches[1::2]


def input_rows(
    layer: LinearLayer, array: Array, wanted: int, generator: np.random.Generator
) -> Array:
    """Chooses patches of a layer's input.

    Args:
        layer: The layer.
        array: A batch of its input.
        wanted: About how many patches to choose; all where there are fewer.
        generator: Of the choice.

    Returns:
        [groups, patches, inputs].
    """
    if layer.node.op_type != "Conv":
        flat = array.reshape(1, -1, array.shape[-1])
        return np.asarray(flat[:, _choose(flat.shape[1], wanted, generator)])
    windows = patches_of(array, layer.node, layer.array().shape[2:])
    # Where patches begin: in which example, and in each spatial dimension.
    places = np.moveaxis(windows, 1, array.ndim - 1)
    extents = places.shape[: array.ndim - 1]
    chosen = _choose(math.prod(extents), wanted, generator)
    rows = places[np.unravel_index(chosen, extents)].reshape(len(chosen), layer.groups, -1)
    return np.asarray(np.moveaxis(rows, 0, 1))


def _choose(count: int, wanted: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    if count <= wanted:
        return np.arange(count)
    return np.sort(generator.choice(count, wanted, replace=False))


@dataclasses.dataclass(frozen=True)
class _Frame:
    """What rows are measured from and in, so that sums of products in float32 keep their digits.

    Of inputs far from zero that hardly vary, E[xx'] - E[x]E[x]' would be rounding errors alone; the
    squares of very large ones would be infinite, those of very small ones zero.

    Attributes:
        origin: About the mean, float32 [groups, 1, inputs].
        unit: A power of two, so that division by it is exact.
    """

    origin: Array
    unit: float

    @classmethod
    def of(cls, rows: Array) -> _Frame:
        """The frame of rows like some first ones, [groups, patches, inputs]."""
        origin = rows.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        reach = float(np.abs(rows - origin).max(initial=0.0))
        exponent = math.frexp(reach)[1] if math.isfinite(reach) else 0
        return cls(origin, math.ldexp(1.0, min(max(exponent, -100), 100)))

    def normalized(self, rows: Array) -> Array:
        return np.asarray((rows - self.origin) / np.float32(self.unit), np.float32)


@dataclasses.dataclass
class _Sums:
    """Sums over patches.

    They are added to in place, and worked on by parts: of thousands of inputs, a matrix of all
    pairs takes longer to allocate than to compute.
    """

    count: int
    total: Wide
    squares: Wide

    @classmethod
    def zero(cls, groups: int, inputs: int) -> _Sums:
        return cls(0, np.zeros((groups, inputs)), np.zeros((groups, inputs, inputs)))

    def add(self, rows: Array) -> None:
        self.count += rows.shape[1]
        self.total += rows.sum(axis=1, dtype=np.float64)
        self.squares += np.matmul(np.swapaxes(rows, 1, 2), rows)

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
        )

    def covariance(self, group: int, rows: slice) -> Wide:
        """Some rows of a group's covariance."""
        mean = self.total[group] / self.count
        found = self.squares[group, rows] / self.count
        found -= mean[rows, None] * mean
        return np.asarray(found)

    def covariances(self) -> Wide:
        """All of them, in the place of the sums of products."""
        for group, rows in _parts(self.squares):
            self.squares[group, rows] = self.covariance(group, rows)
        return self.squares


def _parts(matrices: Wide) -> Iterator[tuple[int, slice]]:
    """Of each group's matrix some rows at a time."""
    for group, matrix in enumerate(matrices):
        for start in range(0, len(matrix), _ROWS_AT_ONCE):
            yield group, slice(start, min(start + _ROWS_AT_ONCE, len(matrix)))


def _finish(first: _Sums, second: _Sums, frame: _Frame) -> Moments:
    """Joins two halves of the samples, and asks how far they agree."""
    total = first.plus(second)
    covariance = total.covariances()
    agree = second.count > 0
    reliable = _reliable(covariance, first, second) if agree else np.zeros(len(covariance))
    covariance *= frame.unit**2
    mean = frame.origin[:, 0].astype(np.float64) + frame.unit * (total.total / total.count)
    return Moments(total.count, mean, covariance, reliable)


def _reliable(whole: Wide, first: _Sums, second: _Sums) -> Wide:
    """The part of correlations that samples have in common; [groups].

    Shrinking what is beside the diagonal by this factor is nearest, in the Frobenius norm, to the
    true covariance (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
    covariance matrices", 2004). Theirs is the intensity for independent samples, which patches of
    one image are not; here it is estimated from the two halves, whose errors are independent.
    """
    variances = np.diagonal(whole, axis1=1, axis2=2)
    weights = np.where(variances > 0.0, 1.0 / np.where(variances > 0.0, variances, 1.0), 0.0)
    common, found = np.zeros(len(whole)), np.zeros(len(whole))
    for group, rows in _parts(whole):
        pairs = weights[group, rows, None] * weights[group]
        on_diagonal = np.arange(rows.start, rows.stop)
        pairs[on_diagonal - rows.start, on_diagonal] = 0.0
        halves = (half.covariance(group, rows) for half in (first, second))
        common[group] += np.einsum("ij,ij,ij->", pairs, *halves)
        found[group] += np.einsum("ij,ij,ij->", pairs, whole[group, rows], whole[group, rows])
    return np.asarray(np.clip(common / np.where(found > 0.0, found, 1.0), 0.0, 1.0))
