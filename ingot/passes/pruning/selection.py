"""Which channels go: the least important for the most parameters."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict

import numpy as np
import onnx_ir as ir

from ingot.onnx_graph.matching import FLOATS
from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.work import Work

# Of the whole, that a last step may take beyond what was asked for.
_SLACK = 0.02


@dataclasses.dataclass
class Group:
    """Channels that are alike: each of them lies along the same axes of the same tensors.

    Attributes:
        axes: The axes of weights, and how many positions along it one channel has.
        channels: The channels, as roots of their couplings, the least important first.
        importance: Of each channel in that order.
        width: How many positions one channel has along the axis of a weight where it has the
            fewest: of a head of attention, its features.
    """

    axes: dict[tuple[ir.Value, int], int]
    channels: list[int]
    importance: list[float]
    width: int

    def step(self, taken: int, multiple: int) -> int:
        """How many channels go at once, so that a multiple of positions is left."""
        unit = multiple // math.gcd(multiple, self.width)
        return (len(self.channels) - taken) % unit or unit


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
    return [_group(key, roots, norms, weights) for key, roots in alike.items() if len(roots) > 1]


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
        width=min(count for place, count in key if place[0] in weights),
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


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen to go.

    Attributes:
        channels: The channels.
        taken: How many of each group.
        before: Of what the ratio is of, before.
        after: The same, after.
    """

    channels: set[int]
    taken: list[int]
    before: float
    after: float


def choose_channels(
    groups: list[Group],
    work: Work,
    saved_of: Work,
    ratio: float,
    multiple: int,
    largest_share: float,
) -> Choice:
    """The channels to remove, greedily by importance lost for what is saved.

    Channels go in steps that leave a multiple of ``multiple`` in their group.

    Args:
        groups: What there is to choose from.
        work: What a part is to go of.
        saved_of: What counts as saved where groups are compared.
        ratio: The part; a little more may go, since channels go in steps.
        multiple: What the number of channels left is to be a multiple of.
        largest_share: The largest part of a group that goes.
    """
    sizes = {value: list(value.const_value.shape.numpy()) for value in work if value.const_value}
    before = left = _total(work, sizes)
    goal = (1 - ratio) * before
    taken = [0] * len(groups)
    while left > goal:
        best: tuple[bool, float, int, int, float] | None = None
        for index, group in enumerate(groups):
            step = group.step(taken[index], multiple)
            if taken[index] + step > largest_share * len(group.channels):
                continue
            harm = sum(group.importance[taken[index] : taken[index] + step])
            gain = saved_by(group, step, sizes, saved_of)
            less = saved_by(group, step, sizes, work)
            if less <= 0 or not math.isfinite(harm):
                continue
            # Steps that go beyond what is asked for come last, the smallest first.
            beyond = left - less < goal - _SLACK * before
            cost = less if beyond else harm / gain if gain > 0 else math.inf
            if best is None or (beyond, cost) < best[:2]:
                best = beyond, cost, index, step, less
        if best is None:
            break
        _, _, index, step, less = best
        taken[index] += step
        left -= less
        for (value, axis), count in groups[index].axes.items():
            sizes[value][axis] -= step * count
    gone = {root for group, n in zip(groups, taken, strict=True) for root in group.channels[:n]}
    return Choice(gone, taken, before, left)


def saved_by(group: Group, step: int, sizes: dict[ir.Value, list[int]], work: Work) -> float:
    """What goes with some channels of a group.

    Args:
        group: The group.
        step: How many of its channels.
        sizes: The sizes that weights have before.
        work: What elements of weights count.
    """
    touched: dict[ir.Value, list[int]] = {}
    for (value, axis), count in group.axes.items():
        touched.setdefault(value, list(sizes[value]))[axis] -= step * count
    return sum(
        work[value] * (math.prod(sizes[value]) - math.prod(after))
        for value, after in touched.items()
    )


def _total(work: Work, sizes: dict[ir.Value, list[int]]) -> float:
    return sum(times * math.prod(sizes[value]) for value, times in work.items())
