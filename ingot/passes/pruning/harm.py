"""What removing channels does to the layers that read them, in the best case: Optimal Brain Surgeon.

A layer with weights W whose input has the centered second moments C loses, when the columns S go and
the others are solved for anew, tr(W_S (inv(C)_SS)^-1 W_S') of its output's variance (Hassibi and Stork,
"Second order derivatives for network pruning", NIPS 1992; for blocks of columns Kurtic et al.,
"ZipLM", NeurIPS 2023). Channels go one by one, the least harmful first, and what is left is solved for
after each, so that of two channels that say the same only one is cheap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.selection import Group
from ingot.passes.quantization.linear import LinearLayer, linear_layers
from ingot.passes.quantization.moments import moments
from ingot.passes.quantization.rounding import without_chance
from ingot.passes.quantization.walk import Walk

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


@dataclasses.dataclass
class Probe:
    """A first step of pruning a group: what its readers' weights and biases become.

    Attributes:
        group: The group.
        channels: How many channels go.
        harm: The part of the readers' variance that is lost, summed.
        weights: New weights of the readers, with zeros in the removed columns.
        shifts: What the readers' biases gain.
    """

    group: Group
    channels: int
    harm: float
    weights: list[tuple[LinearLayer, Array]]
    shifts: list[tuple[LinearLayer, Wide]]


def order_by_harm(
    model: ir.Model,
    couplings: Couplings,
    groups: Sequence[Group],
    batches: Sequence[Mapping[str, Array]],
    largest_share: float,
    multiple: int,
) -> list[Probe]:
    """Orders the channels of groups by the harm that they do, in place.

    Returns:
        A first step of each group that can make one.
    """
    wanted = {root: index for index, group in enumerate(groups) for root in group.channels}
    by_group: list[list[Reader]] = [[] for _ in groups]
    walk = Walk(model, batches)
    for layer in linear_layers(model.graph):
        reader = _reader(layer, couplings, wanted, walk)
        if reader is not None:
            for index in {wanted[root] for root in reader.columns}:
                by_group[index].append(reader)
    probes = []
    for group, readers in zip(groups, by_group, strict=True):
        if readers:
            first = group.step(0, multiple)
            most = int(largest_share * len(group.channels))
            order, harms, probe = _trajectory(group, readers, most, first)
            if probe is not None:
                probes.append(probe)
            rest = [root for root in group.channels if root not in set(order)]
            group.channels = order + rest
            group.importance = harms + [float("inf")] * len(rest)
    return probes


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
    group: Group, readers: Sequence[Reader], most: int, first: int
) -> tuple[list[int], list[float], Probe | None]:
    """Channels in the order in which they go, the harm that each adds, and a first step."""
    probe: Probe | None = None
    states = [(r, r.weights.copy(), r.inverse.copy()) for r in readers]
    left, order, harms = list(group.channels), [], []
    for _ in range(most):
        harm = sum(_harms(reader, weights, inverse, left) for reader, weights, inverse in states)
        best = int(np.argmin(harm))
        root = left.pop(best)
        order.append(root)
        harms.append(float(np.asarray(harm)[best]))
        for reader, weights, inverse in states:
            if root in reader.columns:
                _eliminate(weights, inverse, reader.columns[root])
        if len(order) == first:
            probe = _probe(group, first, sum(harms), states)
    return order, harms, probe


def _probe(
    group: Group, channels: int, harm: float, states: Sequence[tuple[Reader, Wide, Wide]]
) -> Probe:
    return Probe(
        group,
        channels,
        harm,
        [(r.layer, r.layer.from_rows(weights)) for r, weights, _ in states],
        [(r.layer, (r.weights - weights) @ r.mean) for r, weights, _ in states],
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
