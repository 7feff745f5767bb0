"""Pairs of operators of which the second undoes, or outdoes, the first.

The second is made to read the first's input; where nothing is left to do, it becomes an Identity,
which ``cleanup.identities`` then removes under its rules for outputs. The first stays until nothing
reads it: that is dead code.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from ingot.passes.cleanup.constants import integers, rank


def merge_with_producer(node: ir.Node) -> bool:
    """Makes a node read past the node before it, where the two together allow it.

    Returns:
        Whether the node was changed.
    """
    source = node.inputs[0] if node.inputs else None
    first = source.producer() if source is not None else None
    if first is None or first.domain != "" or not first.inputs or first.inputs[0] is None:
        return False
    merge = _MERGES.get((first.op_type, node.op_type))
    if merge is None or not merge(first, node):
        return False
    node.replace_input_with(0, first.inputs[0])
    return True


def _transposes(first: ir.Node, second: ir.Node) -> bool:
    dims = rank(first.inputs[0])
    inner, outer = _order(first, dims), _order(second, dims)
    if inner is None or outer is None or len(inner) != len(outer):
        return False
    second.attributes.add(ir.AttrInt64s("perm", [inner[axis] for axis in outer]))
    return True


def _order(node: ir.Node, dims: int | None) -> list[int] | None:
    perm = node.attributes.get_ints("perm", None)
    if perm is not None:
        return list(perm)
    return None if dims is None else list(reversed(range(dims)))


def _reshapes(first: ir.Node, second: ir.Node) -> bool:
    # A zero copies a size of what is reshaped; with another source it would copy another one.
    if len(first.inputs) < 2 or len(second.inputs) < 2:
        return False
    target = integers(second.inputs[1])
    return target is not None and 0 not in target


def _casts(first: ir.Node, second: ir.Node) -> bool:
    source = first.inputs[0]
    if source is None or source.dtype is None:
        return False
    middle = ir.DataType(first.attributes.get_int("to", 0))
    final = ir.DataType(second.attributes.get_int("to", 0))
    if final != source.dtype or not _holds(middle, source.dtype):
        return False
    _become_identity(second)
    return True


def _holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether every value of ``narrow`` passes through ``wide`` and back unchanged."""
    families: tuple[Callable[[ir.DataType], bool], ...] = (
        lambda dtype: dtype in (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE),
        lambda dtype: dtype.is_integer() and dtype.bitwidth >= 8,
    )
    return any(family(wide) and family(narrow) for family in families) and bool(
        np.can_cast(narrow.numpy(), wide.numpy(), "safe")
    )


def _squeezes(first: ir.Node, second: ir.Node) -> bool:
    there, back = _axes(first), _axes(second)
    if there is None or back is None or sorted(there) != sorted(back):
        return False
    # A negative axis counts from the end of the longer shape in both, so equal axes are the same.
    _become_identity(second)
    return True


def _axes(node: ir.Node) -> list[int] | None:
    listed = node.attributes.get_ints("axes", None)
    if listed is not None:
        return list(listed)
    return integers(node.inputs[1]) if len(node.inputs) > 1 else None


def _become_identity(node: ir.Node) -> None:
    node.op_type = "Identity"
    node.attributes.clear()
    node.resize_inputs(1)


_MERGES: dict[tuple[str, str], Callable[[ir.Node, ir.Node], bool]] = {
    ("Cast", "Cast"): _casts,
    ("Reshape", "Reshape"): _reshapes,
    ("Squeeze", "Unsqueeze"): _squeezes,
    ("Transpose", "Transpose"): _transposes,
    ("Unsqueeze", "Squeeze"): _squeezes,
}
