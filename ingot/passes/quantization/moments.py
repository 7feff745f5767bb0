"""Second moments of a layer's input: what a weight's rounding error does to the layer's output.

With the patches (or rows) that a layer multiplies as the columns of X, the squared error of the
output that an error E of the weights makes is trace(E X X' E'): the mean and X X' say all that
layer-wise methods need, whatever the number of samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
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
        reference_mean: The mean of the reference's patches, [groups, inputs].
        covariance: Centered second moments of the patches, [groups, inputs, inputs].
        cross: Centered moments of the reference's patches with them, [groups, inputs, inputs].
    """

    count: int
    mean: Wide
    reference_mean: Wide
    covariance: Wide
    cross: Wide


def moments(
    layer: LinearLayer, values: Iterable[Array], reference: Iterable[Array], seed: int = 0
) -> Moments:
    """Collects the moments of a layer's input.

    Args:
        layer: The layer.
        values: Its input as the quantized model computes it, one array per batch.
        reference: The same of the float model.
        seed: Of the choice of patches, where there are more than are needed.
    """
    generator = np.random.default_rng(seed)
    total: _Sums | None = None
    pairs = list(zip(values, reference, strict=True))
    inputs = layer.to_rows(layer.array()).shape[1]
    wanted = max(_FEWEST_ROWS, _ROWS_PER_INPUT * inputs) // max(len(pairs), 1) + 1
    waiting: list[tuple[Array, Array]] = []
    for index, (array, expected) in enumerate(pairs):
        rows, expected_rows = input_rows(layer, (array, expected), wanted, generator)
        waiting.append((rows, expected_rows))
        # Small samples together: each product writes a matrix of all pairs of inputs.
        if index == len(pairs) - 1 or sum(one.shape[1] for one, _ in waiting) >= inputs:
            found = _Sums.of(*(np.concatenate(part, axis=1) for part in zip(*waiting, strict=True)))
            total = found if total is None else total.plus(found)
            waiting.clear()
    assert total is not None
    return total.finish()


def input_rows(
    layer: LinearLayer, arrays: tuple[Array, ...], wanted: int, generator: np.random.Generator
) -> list[Array]:
    """Chooses patches of a layer's inputs at the same places in each array.

    Args:
        layer: The layer.
        arrays: Arrays of one shape.
        wanted: About how many patches to choose; all where there are fewer.
        generator: Of the choice.

    Returns:
        [groups, patches, inputs] for each array.
    """
    if layer.node.op_type != "Conv":
        flat = [array.reshape(1, -1, array.shape[-1]) for array in arrays]
        chosen = _choose(flat[0].shape[1], wanted, generator)
        return [rows[:, chosen] for rows in flat]
    shape = layer.array().shape
    groups = layer.groups
    windows = [patches_of(array, layer.node, shape[2:]) for array in arrays]
    batch, _, height, width = windows[0].shape[:4]
    chosen = _choose(batch * height * width, wanted, generator)
    n, y, x = np.unravel_index(chosen, (batch, height, width))
    return [
        np.moveaxis(window[n, :, y, x].reshape(len(chosen), groups, -1), 0, 1) for window in windows
    ]


def _choose(count: int, wanted: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    if count <= wanted:
        return np.arange(count)
    return np.sort(generator.choice(count, wanted, replace=False))


@dataclasses.dataclass
class _Sums:
    count: int
    total: Wide
    reference_total: Wide
    squares: Wide
    cross: Wide

    @classmethod
    def of(cls, rows: Array, reference: Array) -> _Sums:
        transposed = np.swapaxes(rows, 1, 2)
        return cls(
            rows.shape[1],
            rows.sum(axis=1, dtype=np.float64),
            reference.sum(axis=1, dtype=np.float64),
            np.matmul(transposed, rows).astype(np.float64),
            np.matmul(np.swapaxes(reference, 1, 2), rows).astype(np.float64),
        )

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(
            self.count + other.count,
            self.total + other.total,
            self.reference_total + other.reference_total,
            self.squares + other.squares,
            self.cross + other.cross,
        )

    def finish(self) -> Moments:
        mean, reference = self.total / self.count, self.reference_total / self.count
        return Moments(
            self.count,
            mean,
            reference,
            self.squares / self.count - mean[:, :, None] * mean[:, None, :],
            self.cross / self.count - reference[:, :, None] * mean[:, None, :],
        )
