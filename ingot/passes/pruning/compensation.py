"""What is left makes up for what went: weights solved for by least squares on samples.

Layer by layer, in order, the weights W' and the bias b' that are left are those with which the
layer gives, from the pruned model's input x', most nearly what it gave in the original from x:

    minimize  E |W x + b - W' x' - b'|^2 + damping |W' - W_kept|^2

over the rows that are left. The solution depends on the second moments of (x, x') alone. Layers are
visited as the model computes, so that each makes up for what the layers before it still miss: the
reconstruction of He et al., "Channel Pruning for Accelerating Very Deep Neural Networks" (ICCV
2017), section 3.2, with the ridge towards the weights that were there. With x' a part of x and no
damping it is the update of Optimal Brain Surgeon (Hassibi and Stork, NIPS 1992) for whole columns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.edits import Names, add_initializer
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


@dataclasses.dataclass
class _Sums:
    """Sums over patches of the pruned layer's inputs x' and what it misses, W x - W_kept x'.

    All are by group: ``inputs`` [G, K], ``rests`` [G, R], ``squares`` [G, K, K], ``products``
    [G, R, K].
    """

    count: int
    inputs: Wide
    rests: Wide
    squares: Wide
    products: Wide


def compensate(
    original: ir.Model,
    model: ir.Model,
    kept: Mapping[str, Mapping[int, Mask]],
    batches: Sequence[Mapping[str, Array]],
    damping: float,
    progress: Progress = no_progress,
) -> int:
    """Solves for the weights and biases of a pruned model, in place.

    Args:
        original: The model before anything was removed; nodes have the same names.
        model: The pruned model.
        kept: By the name of a weight, which positions along its axes are left.
        batches: Complete inputs of both.
        damping: Part of the mean second moment of an input that is added to each.
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
        _solve(before, layer, kept.get(str(layer.weights.name), {}), walks, damping, names)
    return len(layers)


def _behind(model: ir.Model, kept: Mapping[str, Mapping[int, Mask]]) -> list[LinearLayer]:
    """The layers from the first that lost columns on, whose weights nothing else reads."""
    begun, found = False, []
    for layer in linear_layers(model.graph):
        lost = kept.get(str(layer.weights.name), {})
        begun = begun or (layer.groups == 1 and 1 - layer.channel_axis in lost)
        if begun and _own_weights(layer):
            found.append(layer)
    return found


def _own_weights(layer: LinearLayer) -> bool:
    """Whether nothing else reads the weights or the bias."""
    values = [layer.weights] + ([] if layer.bias is None else [layer.bias])
    if layer.bias is not None and layer.constant_bias() is None:
        return False
    return all(len(value.uses()) == 1 and value.is_initializer() for value in values)


def _solve(
    before: LinearLayer,
    layer: LinearLayer,
    kept: Mapping[int, Mask],
    walks: tuple[Walk, Walk],
    damping: float,
    names: Names,
) -> None:
    groups = layer.groups
    weights = layer.to_rows(layer.array()).astype(np.float64)
    rows = weights.reshape(groups, -1, weights.shape[1])
    sums = _collect(before, layer, kept, walks, rows)
    if sums is None:
        return
    holds_bias = layer.node.op_type in ("Conv", "Gemm") or layer.bias is not None
    count = sums.count
    squares, products = sums.squares / count, sums.products / count
    mean, rest = sums.inputs / count, sums.rests / count
    if holds_bias:
        squares = squares - mean[:, :, None] * mean[:, None, :]
        products = products - rest[:, :, None] * mean[:, None, :]
    diagonal = np.diagonal(squares, axis1=1, axis2=2)
    ridge = damping * diagonal.mean(axis=1)
    update = np.zeros_like(rows)
    for group in range(groups):
        matrix = squares[group] + ridge[group] * np.eye(squares.shape[1])
        if ridge[group] <= 0 or not np.isfinite(matrix).all():
            continue
        update[group] = np.linalg.solve(matrix, products[group].T).T
    new = rows + update
    _replace(layer.weights, layer.from_rows(new.reshape(weights.shape)))
    if holds_bias:
        shift = (rest - np.einsum("grk,gk->gr", update, mean)).reshape(-1)
        _shift_bias(layer, shift, names)


def _collect(
    before: LinearLayer,
    layer: LinearLayer,
    kept: Mapping[int, Mask],
    walks: tuple[Walk, Walk],
    rows: Wide,
) -> _Sums | None:
    """Sums over patches that both models see at the same places."""
    values = [
        [array for array in walk.before(one.node, one.activation) if array.size]
        for walk, one in zip(walks, (before, layer), strict=True)
    ]
    inputs = rows.shape[2]
    wanted = max(_FEWEST_ROWS, _ROWS_PER_INPUT * inputs) // max(len(values[0]), 1) + 1
    left = kept.get(before.channel_axis)
    targets = _target_rows(before, left, layer.groups)
    sums: _Sums | None = None
    for seed, (first, second) in enumerate(zip(*values, strict=True)):
        chosen = [
            input_rows(one, array, wanted, np.random.default_rng(seed)).astype(np.float64)
            for one, array in ((before, first), (layer, second))
        ]
        if before.groups != layer.groups:
            chosen[0] = chosen[0][_groups_left(left, before.groups)]
        x, y = chosen[1], np.matmul(chosen[0], np.swapaxes(targets, 1, 2))
        rest = y - np.matmul(x, np.swapaxes(rows, 1, 2))
        found = _Sums(
            x.shape[1],
            x.sum(axis=1),
            rest.sum(axis=1),
            np.matmul(np.swapaxes(x, 1, 2), x),
            np.matmul(np.swapaxes(rest, 1, 2), x),
        )
        sums = found if sums is None else _add(sums, found)
    return sums


def _add(left: _Sums, right: _Sums) -> _Sums:
    return _Sums(
        left.count + right.count,
        left.inputs + right.inputs,
        left.rests + right.rests,
        left.squares + right.squares,
        left.products + right.products,
    )


def _groups_left(left: Mask | None, groups: int) -> Mask:
    assert left is not None
    return np.asarray(left.reshape(groups, -1)[:, 0])


def _target_rows(before: LinearLayer, left: Mask | None, groups: int) -> Wide:
    """The original weights of the rows that are left, [groups left, rows, inputs]."""
    weights = before.to_rows(before.array()).astype(np.float64)
    if left is not None:
        weights = weights[left]
    return weights.reshape(groups, -1, weights.shape[1])


def _replace(value: ir.Value, array: Array) -> None:
    value.const_value = ir.tensor(np.ascontiguousarray(array, np.float32), name=value.name)


def _shift_bias(layer: LinearLayer, shift: Wide, names: Names) -> None:
    bias = layer.constant_bias()
    if layer.bias is not None and bias is not None:
        _replace(layer.bias, bias + shift)
        layer.bias.shape = ir.Shape(shift.shape)
        return
    graph = layer.node.graph
    assert isinstance(graph, ir.Graph)
    value = add_initializer(graph, names, f"{layer.node.name}.bias", shift.astype(np.float32))
    layer.node.resize_inputs(3)
    layer.node.replace_input_with(2, value)
