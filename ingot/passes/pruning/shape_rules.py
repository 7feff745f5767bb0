"""What operators that move tensors about say of channels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ingot.onnx_graph.matching import constant
from ingot.passes.pruning.couplings import Couplings
from ingot.passes.pruning.holding import hold_node
from ingot.passes.pruning.reshape_targets import target_entries


def concat(node: ir.Node, couplings: Couplings) -> None:
    """Pieces one behind the other."""
    output = node.outputs[0]
    if output.shape is None or any(v is None or v.shape is None for v in node.inputs):
        hold_node(node, couplings, f"the shapes of '{node.name}' are unknown")
        return
    axis = node.attributes.get_int("axis", 0) % len(output.shape)
    pieces = [couplings.at(value, axis) for value in node.inputs if value is not None]
    known = [piece for piece in pieces if piece is not None]
    reason = f"pieces of '{node.name}'"
    if len(known) == len(pieces):
        couplings.couple(np.concatenate(known), couplings.at(output, axis), reason)
    else:
        for piece in (*known, couplings.at(output, axis)):
            couplings.hold(piece, reason)
    for value in node.inputs:
        for other in range(len(output.shape)):
            if value is not None and other != axis:
                couplings.couple(couplings.at(value, other), couplings.at(output, other), reason)


def flatten(node: ir.Node, couplings: Couplings) -> None:
    """Behind the batch: each channel becomes as many columns as its image has elements."""
    x, output = node.inputs[0], node.outputs[0]
    shape = None if x is None else x.shape
    if x is None or shape is None or node.attributes.get_int("axis", 1) != 1 or len(shape) < 2:
        hold_node(node, couplings, f"the axis or the shape of '{node.name}'")
        return
    couplings.couple(couplings.at(x, 0), couplings.at(output, 0), f"the batch of '{node.name}'")
    channels, sizes = couplings.at(x, 1), [size for size in shape[2:] if isinstance(size, int)]
    reason = f"the image of '{node.name}'"
    if channels is None or len(sizes) != len(shape) - 2:
        hold_node(node, couplings, reason)
        return
    repeated = np.repeat(channels, int(np.prod(sizes)))
    couplings.couple(repeated, couplings.at(output, 1), reason)
    for axis in range(2, len(shape)):
        couplings.hold(couplings.at(x, axis), reason)


def transpose(node: ir.Node, couplings: Couplings) -> None:
    """Axes in another order."""
    x, output = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None:
        hold_node(node, couplings, f"the shape of '{node.name}'")
        return
    order = node.attributes.get_ints("perm") or tuple(reversed(range(len(x.shape))))
    for axis, source in enumerate(order):
        reason = f"axes of '{node.name}'"
        couplings.couple(couplings.at(x, source), couplings.at(output, axis), reason)


def reshape(node: ir.Node, couplings: Couplings) -> None:
    """Axes that stay, that are divided, and that are joined, matched from the last on.

    Of a channel axis that is divided, or joined from several, whole runs of the first part go: the
    heads of attention, or the channels of an image.
    """
    x, output = node.inputs[0], node.outputs[0]
    reason = f"the new shape of '{node.name}'"
    entries = target_entries(node)
    if x is None or x.shape is None or output.shape is None or entries is None:
        hold_node(node, couplings, reason)
        return
    for axis in range(len(output.shape)):
        if entries[axis] is None or node.attributes.get_int("allowzero", 0) != 0:
            couplings.hold(couplings.at(output, axis), reason)
        if entries[axis] == 0:  # the size of the input's axis of that place
            couplings.couple(couplings.at(x, axis), couplings.at(output, axis), reason)
    for before, after in _matched(list(x.shape), list(output.shape)):
        if len(before) == len(after) == 1:
            couplings.couple(couplings.at(x, before[0]), couplings.at(output, after[0]), reason)
        elif len(before) == 1:
            _divide(x, before[0], output, after, couplings, reason)
        elif len(after) == 1:
            _divide(output, after[0], x, before, couplings, reason)
        else:
            for value, axes in ((x, before), (output, after)):
                for axis in axes:
                    couplings.hold(couplings.at(value, axis), reason)


def _divide(
    whole: ir.Value,
    axis: int,
    parts: ir.Value,
    axes: list[int],
    couplings: Couplings,
    reason: str,
) -> None:
    """Couples runs of an axis with the first of the axes that it is divided into."""
    first, *rest = axes
    positions, runs = couplings.at(whole, axis), couplings.at(parts, first)
    for other in rest:
        couplings.hold(couplings.at(parts, other), reason)
    if positions is None or runs is None or len(runs) == 0 or len(positions) % len(runs):
        couplings.hold(positions, reason)
        couplings.hold(runs, reason)
        return
    couplings.couple(positions, np.repeat(runs, len(positions) // len(runs)), reason)


def _matched(before: list[object], after: list[object]) -> list[tuple[list[int], list[int]]]:
    """Runs of axes of the same size, from the last on; what is left over is one pair at the end."""
    pairs = []
    i, j = len(before), len(after)
    while i > 0 and j > 0:
        begin_i, begin_j = i - 1, j - 1
        left, right = before[begin_i], after[begin_j]
        while isinstance(left, int) and isinstance(right, int) and left != right:
            if left < right and begin_i > 0:
                begin_i -= 1
                more = before[begin_i]
                left = left * more if isinstance(more, int) else None
            elif right < left and begin_j > 0:
                begin_j -= 1
                more = after[begin_j]
                right = right * more if isinstance(more, int) else None
            else:
                left = None
        if not isinstance(left, int) or not isinstance(right, int):
            break
        pairs.append((list(range(begin_i, i)), list(range(begin_j, j))))
        i, j = begin_i, begin_j
    if i == j == 1:
        pairs.append(([0], [0]))
    elif i or j:
        # Nothing is known of which is which; an empty side makes them held.
        pairs.append((list(range(i)), list(range(j))))
    return pairs


def shape(node: ir.Node, couplings: Couplings) -> None:
    """Sizes that something reads stay."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return
    reason = f"the size is read by '{node.name}'"
    axes = range(len(x.shape))[
        node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(x.shape))
    ]
    read: set[int] = set()
    for use in node.outputs[0].uses():
        index = constant(use.node.inputs[1]) if use.node.op_type == "Gather" else None
        if index is None or use.idx != 0:
            read.update(axes)
        else:
            read.update(axes[int(place)] for place in index.reshape(-1))
    if node.outputs[0].is_graph_output():
        read.update(axes)
    for axis in read:
        couplings.hold(couplings.at(x, axis), reason)


def gather(node: ir.Node, couplings: Couplings) -> None:
    """Rows that are looked up stay; the width of a table is that of what is found."""
    table, indices = node.inputs[0], node.inputs[1]
    output = node.outputs[0]
    reason = f"what '{node.name}' looks up"
    couplings.hold_all(indices, reason)
    if table is None or indices is None or table.shape is None or indices.shape is None:
        hold_node(node, couplings, reason)
        return
    place = node.attributes.get_int("axis", 0) % len(table.shape)
    couplings.hold(couplings.at(table, place), reason)
    shift = len(indices.shape) - 1
    for axis in range(len(table.shape)):
        if axis != place:
            target = axis if axis < place else axis + shift
            couplings.couple(couplings.at(table, axis), couplings.at(output, target), reason)
    for axis in range(place, place + len(indices.shape)):
        couplings.hold(couplings.at(output, axis), reason)


def dimensions_of_one(node: ir.Node, couplings: Couplings) -> None:
    """Squeeze and Unsqueeze: the other axes stay in their order."""
    x, output = node.inputs[0], node.outputs[0]
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or x is None or x.shape is None or output.shape is None:
        hold_node(node, couplings, f"the axes of '{node.name}'")
        return
    longer = max(x, output, key=lambda value: len(value.shape or ()))
    size = len(longer.shape or ())
    ones = {int(axis) % size for axis in axes.reshape(-1)}
    others = [axis for axis in range(size) if axis not in ones]
    shorter = output if longer is x else x
    reason = f"axes of '{node.name}'"
    for axis in ones:
        couplings.hold(couplings.at(longer, axis), reason)
    for place, axis in enumerate(others):
        couplings.couple(couplings.at(longer, axis), couplings.at(shorter, place), reason)


def reduction(node: ir.Node, couplings: Couplings) -> None:
    """Axes that are reduced stay, the others go through."""
    x, output = node.inputs[0], node.outputs[0]
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or x is None or x.shape is None or output.shape is None:
        hold_node(node, couplings, f"the axes of '{node.name}'")
        return
    reduced = {int(axis) % len(x.shape) for axis in axes.reshape(-1)}
    reason = f"axes of '{node.name}'"
    keep = node.attributes.get_int("keepdims", 1)
    place = 0
    for axis in range(len(x.shape)):
        if axis in reduced:
            couplings.hold(couplings.at(x, axis), reason)
            if keep:
                couplings.hold(couplings.at(output, place), reason)
        else:
            couplings.couple(couplings.at(x, axis), couplings.at(output, place), reason)
        place += axis not in reduced or bool(keep)


def along_one_axis(node: ir.Node, couplings: Couplings) -> None:
    """Softmax: the axis that it runs along stays."""
    _same_but(node, couplings, lambda rank: {node.attributes.get_int("axis", -1) % rank})


def from_axis_on(node: ir.Node, couplings: Couplings) -> None:
    """Layer norms: statistics are over the axes from one on, which stay."""
    _same_but(
        node,
        couplings,
        lambda rank: set(range(node.attributes.get_int("axis", -1) % rank, rank)),
    )
    for value in node.inputs[1:]:
        couplings.hold_all(value, f"the statistics of '{node.name}'")


def image_edges(node: ir.Node, couplings: Couplings) -> None:
    """Pad: axes that get longer stay."""
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if pads is None or (len(node.inputs) > 3 and node.inputs[3] is not None):
        hold_node(node, couplings, f"the padding of '{node.name}'")
        return
    edges = pads.reshape(2, -1)
    _same_but(node, couplings, lambda rank: {a for a in range(rank) if edges[:, a].any()})


def resize(node: ir.Node, couplings: Couplings) -> None:
    """Resize by factors: axes of factor one go through."""
    inputs = [*node.inputs, None, None, None]
    scales = constant(inputs[2])
    plain = node.attributes.get("axes") is None and inputs[1] is None and inputs[3] is None
    if scales is None or not plain:
        hold_node(node, couplings, f"the sizes of '{node.name}'")
        return
    factors = scales.reshape(-1)
    _same_but(node, couplings, lambda rank: {a for a in range(rank) if factors[a] != 1})


def _same_but(node: ir.Node, couplings: Couplings, held: Callable[[int], set[int]]) -> None:
    """The axes of the output are those of the first input; some of them stay."""
    x, output = node.inputs[0], node.outputs[0]
    if x is None or x.shape is None or len(node.outputs) > 1:
        hold_node(node, couplings, f"the form of '{node.name}'")
        return
    reason = f"axes of '{node.name}'"
    stay = held(len(x.shape))
    for axis in range(len(x.shape)):
        if axis in stay:
            couplings.hold(couplings.at(x, axis), reason)
            couplings.hold(couplings.at(output, axis), reason)
        else:
            couplings.couple(couplings.at(x, axis), couplings.at(output, axis), reason)
