"""Whether this machine has the memory for a graph's tensors, as far as their sizes are known."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from ingot.errors import ModelError

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def require_room(model: ir.Model) -> None:
    """Refuses a model with a tensor that is larger than this machine's memory.

    Args:
        model: A model with shapes inferred. Open dimensions count as one.

    Raises:
        ModelError: There is such a tensor; names it and the node that computes it.
    """
    memory = machine_memory()
    for value in _values(model):
        if value.shape is None or value.dtype is None or not _is_tensor(value):
            continue
        known = [size for size in value.shape if isinstance(size, int)]
        size = math.prod(known) * _bits(value.dtype) // 8
        if size > memory:
            node = value.producer()
            where = "" if node is None else f", which node {node.name!r} ({node.op_type}) computes,"
            raise ModelError(
                f"value {value.name!r} of shape {value.shape}{where} takes {size:,} bytes: this "
                f"machine has {memory:,}"
            )


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


def _is_tensor(value: ir.Value) -> bool:
    return isinstance(value.type, ir.TensorType)


def _bits(dtype: ir.DataType) -> int:
    return 64 if dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) else dtype.bitwidth
