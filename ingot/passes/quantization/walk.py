"""Runs a model piece by piece, from one linear layer to the next.

Layer-wise methods change a layer's weights and want the next layer's input as the changed model
computes it. Running the model anew for each layer would take a number of runs that grows with the
square of the depth; here each operator runs once per sample, and only the values that later
operators still read are held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import constant_tensor
from ingot.reference.session import Reference

Array = npt.NDArray[Any]


class Walk:
    """A model on a few batches of samples, at some place between its operators.

    Args:
        model: Its main graph is run. While walking, constants of nodes from the present place on
            may be changed, nodes may not be added or removed.
        batches: Complete inputs, one mapping of input name to array per batch.
    """

    def __init__(self, model: ir.Model, batches: Iterable[Mapping[str, Array]]) -> None:
        self._model = model
        self._live: list[dict[str, Array]] = [dict(batch) for batch in batches]
        constant = _constant_nodes(model.graph)
        self._order = [node for node in model.graph if node not in constant]
        self._positions = {node: index for index, node in enumerate(self._order)}
        self._place = 0
        self._last_read = {
            str(value.name): index
            for index, node in enumerate(self._order)
            for value in _reads(node)
        }

    def before(self, node: ir.Node, value: ir.Value) -> list[Array]:
        """Runs up to a node, and returns a value that is known there.

        Args:
            node: Where to stop; it is not run itself. Not before an earlier stop.
            value: A value that the node, or one after it, reads.

        Returns:
            The value's array of each batch.
        """
        stop = self._positions[node]
        if stop > self._place:
            self._run(self._order[self._place : stop], stop)
            self._place = stop
        return [batch[str(value.name)] for batch in self._live]

    def _run(self, nodes: Sequence[ir.Node], stop: int) -> None:
        kept = [v for node in nodes for v in node.outputs if self._is_read_from(v.name, stop)]
        alive = self._live[0].keys()
        inputs = {str(v.name): v for node in nodes for v in _reads(node) if v.name in alive}
        if kept:
            graph = ir.convenience.extract(self._model.graph, list(inputs.values()), kept)
            runner = Reference(ir.Model(graph, ir_version=self._model.ir_version))
        for index, batch in enumerate(self._live):
            results = runner.run({name: batch[name] for name in inputs}) if kept else {}
            still = {n: array for n, array in batch.items() if self._is_read_from(n, stop)}
            self._live[index] = {**still, **results}

    def _is_read_from(self, name: str | None, place: int) -> bool:
        return self._last_read.get(str(name), -1) >= place


def patches_of(array: Array, node: ir.Node, kernel: Sequence[int]) -> Array:
    """A convolution's input as the patches that its kernel sees.

    Args:
        array: [N, C, D...], of one or more spatial dimensions.
        node: The convolution, for strides, dilations and padding.
        kernel: The sizes of its kernel, one per spatial dimension.

    Returns:
        A view where it can be, [N, C, O..., k...]: where patches begin, then what is in them.
    """
    ones = (1,) * len(kernel)
    strides = _ints(node, "strides", ones)
    dilations = _ints(node, "dilations", ones)
    reach = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    padding = _padding(array.shape[2:], node, reach, strides)
    padded = np.pad(array, ((0, 0), (0, 0), *padding))
    view: Any = np.lib.stride_tricks.sliding_window_view
    windows: Array = view(padded, tuple(reach), axis=tuple(range(2, array.ndim)))
    steps = tuple(slice(None, None, step) for step in (1, 1, *strides, *dilations))
    return windows[steps]


def _padding(
    sizes: Sequence[int], node: ir.Node, reach: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Zeros before and after, by spatial dimension."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, extent, stride in zip(sizes, reach, strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            small = total // 2
            pads.append((small, total - small) if mode == "SAME_UPPER" else (total - small, small))
        return pads
    count = len(sizes)
    if mode == "VALID":
        return [(0, 0)] * count
    given = _ints(node, "pads", (0,) * (2 * count))
    return list(zip(given[:count], given[count:], strict=True))


def _ints(node: ir.Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    return tuple(node.attributes.get_ints(name, default) or default)


def _reads(node: ir.Node) -> list[ir.Value]:
    values = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        graphs: Sequence[ir.Graph] = ()
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = (attribute.as_graph(),)
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = attribute.as_graphs()
        for graph in graphs:
            for inner in graph:
                values.extend(_reads(inner))
    return values


def _constant_nodes(order: Iterable[ir.Node]) -> set[ir.Node]:
    """Nodes that read constants alone: they run wherever their results are read."""
    found: set[ir.Node] = set()
    for node in order:
        if all(
            constant_tensor(value) is not None or value.producer() in found
            for value in _reads(node)
        ):
            found.add(node)
    return found
