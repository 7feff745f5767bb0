"""The sizes that a Reshape is given, and new ones for what is pruned."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ingot.onnx_graph.edits import Names, add_initializer
from ingot.onnx_graph.matching import constant, producer


def target_entries(node: ir.Node) -> list[int | None] | None:
    """The sizes that a Reshape is given, None for those that are computed.

    Returns:
        A size (which may be 0 or -1) for each axis of the output; None where the sizes come from
        something else than a constant or a Concat of single ones.
    """
    target, output = node.inputs[1], node.outputs[0]
    if output.shape is None:
        return None
    known = constant(target)
    entries: list[int | None]
    if known is not None:
        entries = [int(size) for size in known.reshape(-1)]
    else:
        joined = producer(target, "Concat")
        if joined is None or any(v is None or v.shape is None for v in joined.inputs):
            return None
        entries = []
        for value in joined.inputs:
            assert value is not None and value.shape is not None
            piece = constant(value)
            if piece is not None:
                entries += [int(size) for size in piece.reshape(-1)]
            elif value.shape == (1,):
                entries.append(None)
            else:
                return None
    return entries if len(entries) == len(output.shape) else None


def write_target(node: ir.Node, names: Names) -> None:
    """Gives a Reshape the sizes of its output where they are written down, in place."""
    entries, output = target_entries(node), node.outputs[0]
    graph, target = node.graph, node.inputs[1]
    if entries is None or target is None or output.shape is None or not isinstance(graph, ir.Graph):
        return
    sizes = [
        size if isinstance(size, int) and entry is not None and entry > 0 else entry
        for entry, size in zip(entries, output.shape, strict=True)
    ]
    if sizes == entries:
        return
    if None not in sizes:
        array = np.array(sizes, np.int64)
        node.replace_input_with(1, add_initializer(graph, names, f"{node.name}.shape", array))
        return
    joined = producer(target, "Concat")
    assert joined is not None
    pieces, place = [], 0
    for value in joined.inputs:
        piece = constant(value)
        if piece is None:
            pieces.append(value)
            place += 1
            continue
        array = np.array(sizes[place : place + piece.size], np.int64)
        pieces.append(add_initializer(graph, names, f"{node.name}.size", array))
        place += piece.size
    renewed = ir.node(
        "Concat",
        pieces,
        {"axis": 0},
        name=names.fresh(f"{node.name}.shape_of"),
    )
    renewed.outputs[0].name = names.fresh(f"{node.name}.shape")
    renewed.outputs[0].type, renewed.outputs[0].shape = target.type, target.shape
    graph.insert_before(node, renewed)
    node.replace_input_with(1, renewed.outputs[0])
