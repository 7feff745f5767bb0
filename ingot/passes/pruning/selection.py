"""Which channels go: the least important for the most parameters."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict

import numpy as np
import onnx_ir as ir

from ingot.onnx_graph.matching import FLOATS
from ingot.passes.pruning.couplings import Couplings


@dataclasses.dataclass
class Group:
    """Channels that are alike: each of them lies along the same axes of the same tensors.

    Attributes:
        axes: The axes of weights, and how many positions along it one channel has.
        channels: The channels, as roots of their couplings, the least important first.
        importance: Of each channel in that order.
        width: How many positions one channel has where it has the fewest.
    """

    axes: dict[tuple[ir.Value, int], int]
    channels: list[int]
    importance: list[float]
    width: int


def weights_of(graph: ir.Graph) -> list[ir.Value]:
    """The initializers of a graph that no caller may replace."""
    inputs = set(graph.inputs)
    return [
        value
        for value in graph.initializers.values()
        if value not in inputs and value.const_value is not None and not value.is_graph_output()
    ]


def find_groups(graph: ir.Graph, couplings: Couplings) -> list[Group]:
    """The groups of channels that may go, with the norms of their weights as importance.

    A channel's importance is the mean, over all axes of weights that it lies along, of its squared
    norm there relative to the other channels' (Li et al., Pruning Filters for Efficient ConvNets,
    ICLR 2017; summed over a dependency group as in DepGraph, CVPR 2023). Biases and other vectors
    do not count.
    """
    weights = set(weights_of(graph))
    places: dict[int, Counter[tuple[ir.Value, int]]] = defaultdict(Counter)
    norms: dict[int, list[float]] = defaultdict(list)
    held: set[int] = set()
    for (value, axis), positions in couplings.axes().items():
        roots = couplings.roots(positions).tolist()
        for root in roots:
            places[root][value, axis] += 1
        if value in weights:
            for root, norm in zip(roots, _relative_norms(value, axis), strict=True):
                norms[root].append(norm)
        elif value.producer() is None:  # an input, or an initializer that a caller may replace
            held.update(roots)
    alike: dict[frozenset[tuple[tuple[ir.Value, int], int]], list[int]] = defaultdict(list)
    for root, counted in places.items():
        if norms[root] and root not in held and couplings.reason(root) is None:
            alike[frozenset(counted.items())].append(root)
    return [_group(key, roots, norms, weights) for key, roots in alike.items()]


def _group(
    key: frozenset[tuple[tuple[ir.Value, int], int]],
    roots: list[int],
    norms: dict[int, list[float]],
    weights: set[ir.Value],
) -> Group:
    importance = {root: float(np.mean(norms[root])) for root in roots}
    ordered = sorted(roots, key=lambda root: (importance[root], root))
    return Group(
        axes={place: count for place, count in key if place[0] in weights},
        channels=ordered,
        importance=[importance[root] for root in ordered],
        width=min(count for _, count in key),
    )


def _relative_norms(value: ir.Value, axis: int) -> list[float]:
    """The squared norm at each position, relative to the mean; empty norms of vectors are 0."""
    tensor = value.const_value
    if tensor is None or tensor.dtype not in FLOATS or len(tensor.shape) < 2:
        size = 0 if tensor is None else tensor.numpy().shape[axis]
        return [0.0] * size
    array = tensor.numpy().astype(np.float64)
    others = tuple(other for other in range(array.ndim) if other != axis)
    squares = np.square(array).sum(axis=others)
    mean = float(squares.mean()) if squares.size else 0.0
    return [float(one) for one in (squares / mean if mean > 0 else squares)]


def choose_channels(
    groups: list[Group], weights: list[ir.Value], ratio: float, multiple: int, largest_share: float
) -> tuple[list[int], int, int]:
    """The channels to remove, greedily by importance lost for parameters saved.

    Channels go in steps that leave a multiple of ``multiple`` in their group.

    Args:
        groups: What there is to choose from.
        weights: All of the model's weights.
        ratio: Part of all parameters that is to go.
        multiple: What the number of channels left is to be a multiple of.
        largest_share: The largest part of a group that goes.

    Returns:
        The channels, and the number of parameters before and after.
    """
    shapes = {
        value: list(value.const_value.numpy().shape) for value in weights if value.const_value
    }
    before = left = sum(int(np.prod(shape)) for shape in shapes.values())
    taken = [0] * len(groups)
    while left > (1 - ratio) * before:
        best: tuple[float, int, int, int] | None = None
        for index, group in enumerate(groups):
            step = _step(group, taken[index], multiple)
            if taken[index] + step > largest_share * len(group.channels):
                continue
            saved = _saved(group, step, shapes)
            lost = sum(group.importance[taken[index] : taken[index] + step])
            fits = left - saved >= (1 - ratio) * before * 0.98
            if not fits:
                continue
            if saved > 0 and (best is None or lost / saved < best[0]):
                best = lost / saved, index, step, saved
        if best is None:
            break
        _, index, step, saved = best
        taken[index] += step
        left -= saved
        for (value, axis), count in groups[index].axes.items():
            shapes[value][axis] -= step * count
    return (
        [root for group, n in zip(groups, taken, strict=True) for root in group.channels[:n]],
        before,
        left,
    )


def _step(group: Group, taken: int, multiple: int) -> int:
    """How many channels go at once, so that a multiple of positions is left."""
    unit = multiple // int(np.gcd(multiple, group.width))
    return (len(group.channels) - taken) % unit or unit


def _saved(group: Group, step: int, shapes: dict[ir.Value, list[int]]) -> int:
    touched: dict[ir.Value, list[int]] = {}
    for (value, axis), count in group.axes.items():
        touched.setdefault(value, list(shapes[value]))[axis] -= step * count
    return sum(int(np.prod(shapes[v])) - int(np.prod(shape)) for v, shape in touched.items())


def _sizes(value: ir.Value) -> list[int]:
    return [] if value.const_value is None else list(value.const_value.numpy().shape)
