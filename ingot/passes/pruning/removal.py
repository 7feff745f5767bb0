"""Takes channels out of all tensors that have them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.edits import Names
from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.reshape_targets import write_target
from ingot.passes.pruning.selection import weights_of


def remove_channels(
    model: ir.Model, couplings: Couplings, removed: set[int]
) -> dict[str, dict[int, npt.NDArray[np.bool_]]]:
    """Removes channels from all tensors that have them, in place.

    Args:
        model: The model; its main graph is pruned.
        couplings: Its couplings.
        removed: Roots of the channels.

    Returns:
        By the name of a weight that lost channels, and by axis, which positions are left.
    """
    graph = model.graph
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
    names = Names(model)
    for node in list(graph):
        if node.op_type == "Reshape" and node.outputs[0] in gone:
            write_target(node, names)
    return kept


def _rows(node: ir.Node) -> int:
    """The output channels of a convolution; 0 where they are unknown."""
    weight = node.inputs[1]
    size = None if weight is None or weight.shape is None else weight.shape[0]
    return size if isinstance(size, int) else 0
