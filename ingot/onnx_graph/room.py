"""Whether this machine has the memory for a graph's tensors, as far as their sizes are known."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from ingot.errors import ModelError

_MOST_FOLDED_BYTES = 1 << 30
_MOST_FOLLOWED_BYTES = 64 << 20
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def require_room(model: ir.Model) -> None:
    """Refuses a model with a tensor that is larger than half of this machine's memory.

    Args:
        model: A model with shapes inferred. Open dimensions count as one.

    Raises:
        ModelError: There is such a tensor; names it and the node that computes it.
    """
    memory = machine_memory()
    # What computes a tensor holds another one beside it.
    most = memory // 2
    for value in _values(model):
        size = _least_bytes(value)
        if size > most:
            node = value.producer()
            where = "" if node is None else f", which node {node.name!r} ({node.op_type}) computes,"
            raise ModelError(
                f"value {value.name!r} of shape {value.shape}{where} takes {size:,} bytes: this "
                f"machine has {memory:,}, and needs as much again"
            )


def large_constant(model: ir.Model) -> ir.Value | None:
    """The first value that folding of constants would make, and that is too large to be made."""
    constant: set[ir.Value] = set()
    for node in model.graph:
        read = [value for value in node.inputs if value is not None]
        if not all(value in constant or value.const_value is not None for value in read):
            continue
        constant.update(node.outputs)
        if node.op_type == "Constant":
            continue
        for value in node.outputs:
            # The contents of vectors of integers are followed as if they were shapes.
            rank = None if value.shape is None else len(value.shape)
            followed = rank == 1 and value.dtype in (ir.DataType.INT64, ir.DataType.INT32)
            if _least_bytes(value) > (_MOST_FOLLOWED_BYTES if followed else _MOST_FOLDED_BYTES):
                return value
    return None


def machine_memory() -> int:
    """Bytes of memory that this machine has, or that its control group may use."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):
        memory = min(memory, int(_CGROUP_LIMIT.read_text()))
    return memory


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _least_bytes(value: ir.Value) -> int:
    """What a tensor takes, open dimensions counted as one; 0 for what is not known or no tensor."""
    if value.shape is None or value.dtype is None or not isinstance(value.type, ir.TensorType):
        return 0
    known = [size for size in value.shape if isinstance(size, int)]
    return math.prod(known) * _bits(value.dtype) // 8


def _bits(dtype: ir.DataType) -> int:
    return 64 if dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) else dtype.bitwidth
