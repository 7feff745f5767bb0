"""What is left makes up for what went: weights solved for by least squares on samples.

Layer by layer, in order, the weights W' and the bias b' that are left are those with which the
layer gives, from the pruned model's input x', most nearly what it gave in the original from x:

    minimize  E |W x + b - W' x' - b'|^2 + damping |W' - W_kept|^2

over the rows that are left; the damping is the one with which half of the samples says most of the
other half. The solution depends on the second moments of (x, x') alone. Layers are
visited as the model computes, so that each makes up for what the layers before it still miss: the
reconstruction of He et al., "Channel Pruning for Accelerating Very Deep Neural Networks" (ICCV
2017), section 3.2, with the ridge towards the weights that were there. With x' a part of x and no
damping it is the update of Optimal Brain Surgeon (Hassibi and Stork, NIPS 1992) for whole columns.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.edits import Names
from ingot.passes.pruning.layer_weights import (
    has_own_weights,
    holds_bias,
    replace_weights,
    shift_bias,
)
from ingot.passes.quantization.linear import LinearLayer, linear_layer, linear_layers
from ingot.passes.quantization.moments import input_rows
from ingot.passes.quantization.walk import Walk
from ingot.progress import Progress, no_progress

Array = npt.NDArray[Any]
Wide = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Patches per input of a layer, and at least: more than this add little but time.
_ROWS_PER_INPUT = 16
_FEWEST_ROWS = 16384
# Parts of the mean second moment of an input.
_DAMPINGS = (1e-5, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclasses.dataclass(frozen=True)
class _Moments:
    """Of the pruned layer's inputs x' and of what it misses, r = W x - W_kept x', by group.

    Attributes:
        count: Patches seen.
        inputs: Sum of x', [groups, inputs].
        rests: Sum of r, [groups, rows].
        squares: Sum of x' x'^T, [groups, inputs, inputs].
        products: Sum of r x'^T, [groups, rows, inputs].
    """

    count: int
    inputs: Wide
    rests: Wide
    squares: Wide
    products: Wide

    @classmethod
    def of(cls, inputs: Wide, rests: Wide) -> _Moments:
        """Of patches, [groups, patches, inputs] and [groups, patches, rows]."""
        across = np.swapaxes(inputs, 1, 2)
        return cls(
            inputs.shape[1],
            inputs.sum(axis=1),
            rests.sum(axis=1),
            np.matmul(across, inputs),
            np.swapaxes(np.matmul(across, rests), 1, 2),
        )

    def plus(self, other: _Moments) -> _Moments:
        return _Moments(
            self.count + other.count,
            self.inputs + other.inputs,
            self.rests + other.rests,
            self.squares + other.squares,
            self.products + other.products,
        )

    def means(self, *, centered: bool) -> tuple[Wide, Wide]:
        """The mean of x' x'^T and of r x'^T, around their means where a bias takes these."""
        squares, products = self.squares / self.count, self.products / self.count
        if centered:
            mean = (self.inputs / self.count)[:, None, :]
            squares = squares - np.swapaxes(mean, 1, 2) * mean
            products = products - (self.rests / self.count)[:, :, None] * mean
        return squares, products


def compensate(
    original: ir.Model,
    model: ir.Model,
    kept: Mapping[str, Mapping[int, Mask]],
    batches: Sequence[Mapping[str, Array]],
    progress: Progress = no_progress,
) -> int:
    """Solves for the weights and biases of a pruned model, in place.

    Args:
        original: The model before anything was removed; nodes have the same names.
        model: The pruned model.
        kept: By the name of a weight, which positions along its axes are left.
        batches: Complete inputs of both.
        progress: Told of each layer.

    Returns:
        The number of layers that were solved for.
    """
    names = Names(model)
    nodes = {node.name: node for node in original.graph}
    walks = Walk(original, batches), Walk(model, batches)
    layers = _behind(model, kept)
    for number, layer in enumerate(layers, start=1):
        progress("solving for the weights that are left", number, len(layers))
        before = linear_layer(nodes[layer.node.name])
        assert before is not None
        _solve(before, layer, kept.get(str(layer.weights.name), {}), walks, names)
    return len(layers)


def _behind(model: ir.Model, kept: Mapping[str, Mapping[int, Mask]]) -> list[LinearLayer]:
    """The layers from the first that lost columns on, whose weights nothing else reads."""
    begun, found = False, []
    for layer in linear_layers(model.graph):
        lost = kept.get(str(layer.weights.name), {})
        begun = begun or (layer.groups == 1 and 1 - layer.channel_axis in lost)
        if begun and has_own_weights(layer):
            found.append(layer)
    return found


def _solve(
    before: LinearLayer,
    layer: LinearLayer,
    kept: Mapping[int, Mask],
    walks: tuple[Walk, Walk],
    names: Names,
) -> None:
    weights = layer.to_rows(layer.array()).astype(np.float64)
    rows = weights.reshape(layer.groups, -1, weights.shape[1])
    halves = _collect(before, layer, kept, walks, rows)
    if not halves:
        return
    whole = functools.reduce(_Moments.plus, halves)
    biased = holds_bias(layer)
    damping = _best_damping([half.means(centered=biased) for half in halves])
    update = _update(*whole.means(centered=biased), damping)
    if not np.isfinite(update).all():
        return
    replace_weights(layer, layer.from_rows((rows + update).reshape(weights.shape)))
    if biased:
        moved = np.einsum("grk,gk->gr", update, whole.inputs / whole.count)
        shift_bias(layer, (whole.rests / whole.count - moved).reshape(-1), names)


def _update(squares: Wide, products: Wide, damping: float) -> Wide:
    """What weights gain: products (squares + ridge)^-1; zero for an infinite damping."""
    if not math.isfinite(damping):
        return np.zeros_like(products)
    diagonal = np.diagonal(squares, axis1=1, axis2=2).mean(axis=1)
    ridge = np.where(diagonal > 0, damping * diagonal, 1.0)
    matrices = squares + ridge[:, None, None] * np.eye(squares.shape[1])
    return np.swapaxes(np.linalg.solve(matrices, np.swapaxes(products, 1, 2)), 1, 2)


def _best_damping(halves: Sequence[tuple[Wide, Wide]]) -> float:
    """The damping with which what one half of the samples says holds best on the other.

    Infinite, that is weights as they are, where none is better than that.
    """
    best, least = math.inf, 0.0
    if len(halves) < 2:
        return max(_DAMPINGS)
    for damping in _DAMPINGS:
        error = 0.0
        for (squares, products), (others, wanted) in itertools.permutations(halves, 2):
            update = _update(squares, products, damping)
            error += float(np.sum((np.matmul(update, others) - 2 * wanted) * update))
        if error < least:
            best, least = damping, error
    return best


def _collect(
    before: LinearLayer,
    layer: LinearLayer,
    kept: Mapping[int, Mask],
    walks: tuple[Walk, Walk],
    rows: Wide,
) -> list[_Moments]:
    """Moments of patches that both models see at the same places, of two halves of the samples."""
    values = [
        [array for array in walk.before(one.node, one.activation) if array.size]
        for walk, one in zip(walks, (before, layer), strict=True)
    ]
    wanted = max(_FEWEST_ROWS, _ROWS_PER_INPUT * rows.shape[2]) // max(len(values[0]), 1) + 1
    left = kept.get(before.channel_axis)
    targets = _target_rows(before, left, layer.groups)
    halves: dict[int, _Moments] = {}
    for number, (first, second) in enumerate(zip(*values, strict=True)):
        seen, found = (
            input_rows(one, array, wanted, np.random.default_rng(number)).astype(np.float64)
            for one, array in ((before, first), (layer, second))
        )
        if before.groups != layer.groups:
            seen = seen[_groups_left(left, before.groups)]
        rest = np.matmul(seen, np.swapaxes(targets, 1, 2))
        rest -= np.matmul(found, np.swapaxes(rows, 1, 2))
        half, moments = number % 2, _Moments.of(found, rest)
        halves[half] = halves[half].plus(moments) if half in halves else moments
    return list(halves.values())


def _groups_left(left: Mask | None, groups: int) -> Mask:
    assert left is not None
    return np.asarray(left.reshape(groups, -1)[:, 0])


def _target_rows(before: LinearLayer, left: Mask | None, groups: int) -> Wide:
    """The original weights of the rows that are left, [groups left, rows, inputs]."""
    weights = before.to_rows(before.array()).astype(np.float64)
    if left is not None:
        weights = weights[left]
    return weights.reshape(groups, -1, weights.shape[1])
