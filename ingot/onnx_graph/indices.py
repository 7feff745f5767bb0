"""Where the values of an input count; inputs that select entries, and of how many."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

# Operators that hand values on as they are, on the way from an input to where they count.
_TRANSPARENT = frozenset({
    "Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip


def index_limit(value: ir.Value) -> int | None:
    """Returns the number of entries that an input selects from, or None where it is no index.

    Indices from ``-limit`` to ``limit - 1`` are valid for ONNX's Gather; ``limit`` is the smallest
    of the axes that the input indexes.
    """
    return min(_vocabularies(value), default=None)


def _vocabularies(value: ir.Value) -> Iterator[int]:
    """Sizes of the axes that the value indexes by Gather, also through shape changes and casts."""
    for node, position in places(value):
        if node.domain == "" and node.op_type == "Gather" and position == 1:
            data = node.inputs[0]
            axis = node.attributes.get_int("axis", 0)
            rank = 0 if data is None or data.shape is None else len(data.shape)
            if data is not None and data.shape is not None and -rank <= axis < rank:
                size = data.shape[axis]
                if isinstance(size, int):
                    yield size


def places(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Where a value counts, also behind shape changes and casts."""
    for node, position in value.uses():
        if node.domain == "" and node.op_type in _TRANSPARENT and position == 0:
            yield from places(node.outputs[0])
        yield node, position
