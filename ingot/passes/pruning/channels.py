"""Structured pruning: whole channels go, and the graph is a smaller one of the same form."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pydantic

from ingot.passes.base import (
    LOSSY,
    Declined,
    IngotPass,
    PassOptions,
    PassOutcome,
    Tolerance,
)
from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.node_rules import couple_graph
from ingot.passes.pruning.selection import choose_channels, find_groups, weights_of


class PruneChannelsOptions(PassOptions):
    """Options of ``pruning.channels``."""

    ratio: float = pydantic.Field(default=0.1, gt=0, lt=1, description="part of the parameters")
    multiple: int = pydantic.Field(
        default=8, gt=0, description="what the number of channels left is a multiple of"
    )
    largest_share: float = pydantic.Field(
        default=0.5, gt=0, lt=1, description="largest part of a group of channels that goes"
    )


class PruneChannels(IngotPass[PruneChannelsOptions]):
    """Removes the channels whose weights have the least norm.

    What comes out equals the model whose layers read zero in the place of the removed channels.
    """

    name: ClassVar[str] = "pruning.channels"
    summary: ClassVar[str] = "Remove the least important channels."
    options_type: ClassVar[type[PassOptions]] = PruneChannelsOptions
    tolerance: ClassVar[Tolerance] = LOSSY

    def call(self, model: ir.Model) -> PassOutcome:
        """Prunes a model in place."""
        couplings = couple_graph(model.graph)
        groups = find_groups(model.graph, couplings)
        options = self.options
        removed, _, _ = choose_channels(
            groups, weights_of(model.graph), options.ratio, options.multiple, options.largest_share
        )
        if removed:
            remove_channels(model.graph, couplings, set(removed))
        return PassOutcome(
            model=model,
            modified=bool(removed),
            applied=len(removed),
            declined=_held(model.graph, couplings),
        )


def remove_channels(
    graph: ir.Graph, couplings: Couplings, removed: set[int]
) -> dict[str, dict[int, npt.NDArray[np.bool_]]]:
    """Removes channels from all tensors that have them, in place.

    Args:
        graph: The graph.
        couplings: Its couplings.
        removed: Roots of the channels.

    Returns:
        By the name of a weight that lost channels, and by axis, which positions are left.
    """
    weights = set(weights_of(graph))
    widths = {node: _rows(node) for node in graph if node.op_type == "Conv"}
    gone: dict[ir.Value, dict[int, npt.NDArray[np.bool_]]] = {}
    for (value, axis), positions in couplings.axes().items():
        lost = np.array([root in removed for root in couplings.roots(positions).tolist()], bool)
        if lost.any():
            gone.setdefault(value, {})[axis] = lost
    for value, axes in gone.items():
        sizes = list(value.shape or ())
        for axis, lost in axes.items():
            sizes[axis] = int((~lost).sum())
        value.shape = ir.Shape(sizes)
        if value in weights and value.const_value is not None:
            array = value.const_value.numpy()
            for axis, lost in axes.items():
                array = np.compress(~lost, array, axis=axis)
            value.const_value = ir.tensor(
                np.ascontiguousarray(array), dtype=value.const_value.dtype, name=value.name
            )
    kept = {
        str(value.name): {axis: ~lost for axis, lost in axes.items()}
        for value, axes in gone.items()
        if value in weights
    }
    for node, rows in widths.items():
        groups = node.attributes.get_int("group", 1)
        if groups > 1 and rows != _rows(node):  # whole groups went
            node.attributes["group"] = ir.AttrInt64("group", _rows(node) * groups // rows)
    return kept


def _rows(node: ir.Node) -> int:
    """The output channels of a convolution; 0 where they are unknown."""
    weight = node.inputs[1]
    size = None if weight is None or weight.shape is None else weight.shape[0]
    return size if isinstance(size, int) else 0


def _held(graph: ir.Graph, couplings: Couplings) -> list[Declined]:
    """The layers whose output channels all stay, and why."""
    declined = []
    for node in graph:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        positions = couplings.at(node.outputs[0], 1)
        if positions is None:
            continue
        reasons = [couplings.reason(root) for root in couplings.roots(positions).tolist()]
        if reasons and all(reasons):
            declined.append(Declined(node.name or "", f"its channels stay: {reasons[0]}"))
    return declined
