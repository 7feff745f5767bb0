"""What removing channels does to the layers that read them at best: Optimal Brain Surgeon.

A layer with weights W whose input has the centered second moments C loses, when the columns S go
and the others are solved for anew, tr(W_S (inv(C)_SS)^-1 W_S') of its output's variance (Hassibi
and Stork, "Second order derivatives for network pruning", NIPS 1992; for blocks of columns Kurtic
et al., "ZipLM", NeurIPS 2023). Channels go one by one, the least harmful first, and what is left is
solved for after each, so that of two channels that say the same only one is cheap.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.layer_weights import holds_bias
from ingot.passes.pruning.selection import Group
from ingot.passes.quantization.linear import LinearLayer, linear_layers
from ingot.passes.quantization.moments import moments
from ingot.passes.quantization.rounding import without_chance
from ingot.passes.quantization.walk import Walk
from ingot.progress import Progress, no_progress

Array = npt.NDArray[Any]
Wide = npt.NDArray[np.float64]

# Of the mean diagonal, so that the inverse of what few samples tell is bounded.
_DAMPING = 0.01


@dataclasses.dataclass
class Reader:
    """A layer that reads channels, with what is known of its input.

    Attributes:
        layer: The layer.
        columns: By root, its columns, [positions, inputs of one position].
        weights: [channels, inputs].
        inverse: Of the damped second moments, [inputs, inputs].
        scale: Variance of its output.
    """

    layer: LinearLayer
    columns: dict[int, npt.NDArray[np.int64]]
    weights: Wide
    inverse: Wide
    mean: Wide
    scale: float


@dataclasses.dataclass(frozen=True)
class Step:
    """What becomes of the layers that read a group when some of its channels go.

    Attributes:
        weights: By the name of a layer's node, its weights, with zeros in the removed columns.
        shifts: By the name of a layer's node, what its bias gains, [channels].
    """

    weights: Mapping[str, Array]
    shifts: Mapping[str, Wide]


Measure = Callable[[Step], float]
"""How far the model's outputs move by a step."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """The measured harm of pruning a group.

    Attributes:
        counts: Numbers of channels removed.
        errors: The relative squared error of the model's outputs with each.
    """

    counts: Sequence[int]
    errors: Sequence[float]


def order_by_harm(
    model: ir.Model,
    couplings: Couplings,
    groups: Sequence[Group],
    batches: Sequence[Mapping[str, Array]],
    *,
    largest_share: float,
    multiple: int,
    measure: Measure | None = None,
    progress: Progress = no_progress,
) -> list[Curve]:
    """Orders the channels of groups by the harm that they do, in place.

    Importance is the part of the readers' variance that is lost; with ``measure`` it is the error
    of the model's outputs, which is measured for some numbers of channels and follows the readers'
    loss between them.

    Args:
        model: The model.
        couplings: Its couplings.
        groups: The groups.
        batches: Complete inputs of the model.
        largest_share: The largest part of a group that goes.
        multiple: What the number of channels left is a multiple of.
        measure: Says how far outputs move.
        progress: Told of each group.

    Returns:
        What was measured of each group.
    """
    wanted = {root: index for index, group in enumerate(groups) for root in group.channels}
    by_group: list[list[Reader]] = [[] for _ in groups]
    walk = Walk(model, batches)
    for layer in linear_layers(model.graph):
        reader = _reader(layer, couplings, wanted, walk)
        if reader is not None:
            for index in {wanted[root] for root in reader.columns}:
                by_group[index].append(reader)
    curves = []
    for number, (group, readers) in enumerate(zip(groups, by_group, strict=True), start=1):
        progress("measuring what channels do", number, len(groups))
        most = int(largest_share * len(group.channels))
        counts = _checkpoints(group, most, multiple) if measure is not None else []
        order, harms, errors = _trajectory(group, readers, most, counts, measure)
        curve = Curve(counts, errors)
        curves.append(curve)
        gone = set(order)
        rest = [root for root in group.channels if root not in gone]
        group.channels = order + rest
        group.importance = _along(harms, curve) + [math.inf] * len(rest)
    return curves


def _checkpoints(group: Group, most: int, multiple: int) -> list[int]:
    """The first step, and about an eighth, a quarter and a half of the channels."""
    steps, taken = [], 0
    while taken + (step := group.step(taken, multiple)) <= most:
        taken += step
        steps.append(taken)
    wanted = [len(group.channels) * part for part in (0.0, 1 / 8, 1 / 4, 1 / 2)]
    return (
        sorted({min(steps, key=lambda one: abs(one - place)) for place in wanted}) if steps else []
    )


def _along(harms: Sequence[float], curve: Curve) -> list[float]:
    """Harms of single channels, so that their sums go through what was measured."""
    if not curve.counts:
        return list(harms)
    found, begin, error = list(harms), 0, 0.0
    for end, measured in zip(curve.counts, curve.errors, strict=True):
        rise, lost = max(measured - error, 0.0), sum(harms[begin:end])
        for place in range(begin, end):
            part = harms[place] / lost if lost > 0 else 1 / (end - begin)
            found[place] = rise * part
        begin, error = end, max(error, measured)
    for place in range(begin, len(found)):
        found[place] = math.inf
    return found


def _reader(
    layer: LinearLayer, couplings: Couplings, wanted: Mapping[int, int], walk: Walk
) -> Reader | None:
    if layer.groups > 1:
        return None
    axis = 1 - layer.channel_axis
    positions = couplings.at(layer.weights, axis)
    if positions is None:
        return None
    roots = couplings.roots(positions).tolist()
    if not any(root in wanted for root in roots):
        return None
    found = moments(layer, walk.before(layer.node, layer.activation))
    weights = layer.to_rows(layer.array()).astype(np.float64)
    covariance = without_chance(found.covariance, found.reliable)[0]
    if not holds_bias(layer):  # nothing takes the mean of what goes
        covariance = covariance + np.outer(found.mean[0], found.mean[0])
    scale = float(np.einsum("ri,ij,rj->", weights, covariance, weights, optimize=True))
    damping = _DAMPING * float(np.trace(covariance)) / len(covariance)
    if not np.isfinite(scale) or scale <= 0 or damping <= 0:
        return None
    width = weights.shape[1] // len(roots)
    columns: dict[int, list[int]] = {}
    for place, root in enumerate(roots):
        if root in wanted:
            columns.setdefault(root, []).extend(range(place * width, (place + 1) * width))
    return Reader(
        layer,
        {root: np.array(one) for root, one in columns.items()},
        weights,
        np.linalg.inv(covariance + damping * np.eye(len(covariance))),
        found.mean[0],
        scale,
    )


def _trajectory(
    group: Group,
    readers: Sequence[Reader],
    most: int,
    counts: Sequence[int],
    measure: Measure | None,
) -> tuple[list[int], list[float], list[float]]:
    """Channels in the order in which they go, the harm that each adds, and errors at counts."""
    states = [(r, r.weights.copy(), r.inverse.copy()) for r in readers]
    left, order, harms, errors = list(group.channels), [], [], []
    for _ in range(most):
        harm = np.zeros(len(left))
        for reader, weights, inverse in states:
            harm += _harms(reader, weights, inverse, left)
        best = int(np.argmin(harm))
        root = left.pop(best)
        order.append(root)
        harms.append(float(harm[best]))
        for reader, weights, inverse in states:
            if root in reader.columns:
                _eliminate(weights, inverse, reader.columns[root])
        if measure is not None and len(order) in counts:
            errors.append(measure(_step(states)))
    return order, harms, errors


def _step(states: Sequence[tuple[Reader, Wide, Wide]]) -> Step:
    return Step(
        {str(r.layer.node.name): r.layer.from_rows(weights.copy()) for r, weights, _ in states},
        {str(r.layer.node.name): (r.weights - weights) @ r.mean for r, weights, _ in states},
    )


def _harms(reader: Reader, weights: Wide, inverse: Wide, roots: Sequence[int]) -> Wide:
    """The part of the output's variance that each channel's removal loses."""
    harms = np.zeros(len(roots))
    present = [i for i, root in enumerate(roots) if root in reader.columns]
    sizes = {len(reader.columns[roots[i]]) for i in present}
    for size in sizes:  # all of one size at once
        some = [i for i in present if len(reader.columns[roots[i]]) == size]
        places = np.stack([reader.columns[roots[i]] for i in some])
        blocks = inverse[places[:, :, None], places[:, None, :]]
        columns = np.moveaxis(weights[:, places], 1, 0)  # [channels gone, rows, size]
        gram = np.matmul(np.swapaxes(columns, 1, 2), columns)
        harms[some] = np.trace(np.linalg.solve(blocks, gram), axis1=1, axis2=2) / reader.scale
    return harms


def _eliminate(weights: Wide, inverse: Wide, columns: npt.NDArray[np.int64]) -> None:
    """Takes columns out of weights and inverse, in place."""
    block = inverse[np.ix_(columns, columns)]
    towards = np.linalg.solve(block, inverse[columns])
    weights -= weights[:, columns] @ towards
    inverse -= inverse[:, columns] @ towards
    weights[:, columns] = 0
    inverse[columns] = 0
    inverse[:, columns] = 0
    inverse[columns, columns] = 1
