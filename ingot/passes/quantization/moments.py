"""Second moments of a layer's input: what a weight's rounding error does to the layer's output.

With the patches (or rows) that a layer multiplies as the columns of X, the squared error of the
output that an error E of the weights makes is trace(E X X' E'): the mean and X X' say all that
layer-wise methods need, whatever the number of samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
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


@dataclasses.dataclass(frozen=True)
class Moments:
    """Of the inputs of a layer, by group (one for products and plain convolutions).

    Attributes:
        count: Patches seen.
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
    halves: list[_Sums | None] = [None, None]
    batches = list(values)
    inputs = layer.to_rows(layer.array()).shape[1]
    wanted = max(_FEWEST_ROWS, _ROWS_PER_INPUT * inputs) // max(len(batches), 1) + 1
    for half, part in enumerate(_in_halves(batches)):
        waiting: list[Array] = []
        for index, array in enumerate(part):
            waiting.append(input_rows(layer, array, wanted, generator))
            # Small samples together: each product writes a matrix of all pairs of inputs.
            if index == len(part) - 1 or sum(one.shape[1] for one in waiting) >= inputs:
                found = _Sums.of(np.concatenate(waiting, axis=1))
                before = halves[half]
                halves[half] = found if before is None else before.plus(found)
                waiting.clear()
    return _finish(*halves)


def _in_halves(batches: Sequence[Array]) -> tuple[Sequence[Array], Sequence[Array]]:
    """Divides samples in two; one batch by its examples."""
    if len(batches) == 1:
        middle = len(batches[0]) // 2
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
    batch, _, height, width = windows.shape[:4]
    chosen = _choose(batch * height * width, wanted, generator)
    n, y, x = np.unravel_index(chosen, (batch, height, width))
    rows = windows[n, :, y, x].reshape(len(chosen), layer.groups, -1)
    return np.asarray(np.moveaxis(rows, 0, 1))


def _choose(count: int, wanted: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    if count <= wanted:
        return np.arange(count)
    return np.sort(generator.choice(count, wanted, replace=False))


@dataclasses.dataclass
class _Sums:
    count: int
    total: Wide
    squares: Wide

    @classmethod
    def of(cls, rows: Array) -> _Sums:
        return cls(
            rows.shape[1],
            rows.sum(axis=1, dtype=np.float64),
            np.matmul(np.swapaxes(rows, 1, 2), rows).astype(np.float64),
        )

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
        )

    def covariance(self) -> Wide:
        mean = self.total / self.count
        return np.asarray(self.squares / self.count - mean[:, :, None] * mean[:, None, :])


def _finish(first: _Sums | None, second: _Sums | None) -> Moments:
    """Joins two halves of the samples, and asks how far they agree."""
    assert first is not None
    total = first if second is None else first.plus(second)
    covariance = total.covariance()
    if second is None:
        reliable = np.zeros(len(covariance))
    else:
        reliable = _reliable(covariance, first.covariance(), second.covariance())
    return Moments(
        total.count,
        total.total / total.count,
        covariance,
        reliable,
    )


def _reliable(whole: Wide, first: Wide, second: Wide) -> Wide:
    """The part of correlations that samples have in common; [groups].

    Shrinking what is beside the diagonal by this factor is nearest, in the Frobenius norm, to the
    true covariance (Ledoit and Wolf, "A well-conditioned estimator for large-dimensional
    covariance matrices", 2004). Theirs is the intensity for independent samples, which patches of
    one image are not; here it is estimated from the two halves, whose errors are independent.
    """
    variances = np.diagonal(whole, axis1=1, axis2=2)
    weights = np.where(variances > 0.0, 1.0 / np.where(variances > 0.0, variances, 1.0), 0.0)

    def product(left: Wide, right: Wide) -> Wide:
        found = np.einsum("gij,gij,gi,gj->g", left, right, weights, weights, optimize=True)
        diagonals = (np.diagonal(one, axis1=1, axis2=2) for one in (left, right))
        return np.asarray(found - np.einsum("gi,gi,gi->g", *diagonals, weights**2))

    common, found = product(first, second), product(whole, whole)
    return np.asarray(np.clip(common / np.where(found > 0.0, found, 1.0), 0.0, 1.0))
