"""What a prim func consists of: its blocks, which of them reduce, and how they feed each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tvm import s_tir, tirx
from tvm.s_tir.schedule import LoopRV, SBlockRV

_SPATIAL = tirx.IterVar.DataPar
_REDUCTION = tirx.IterVar.CommReduce


@dataclasses.dataclass(frozen=True)
class Axis:
    """A loop over one of a block's axes.

    Attributes:
        loop: The loop.
        extent: Its number of iterations, None where it is symbolic.
        reduces: Whether the block accumulates over it.
    """

    loop: LoopRV
    extent: int | None
    reduces: bool


def leaf_blocks(schedule: s_tir.Schedule) -> list[SBlockRV]:
    """Returns the blocks of the prim func ``main`` below its root, in order."""
    root = schedule.get_sblock("root", func_name="main")
    return list(schedule.get_child_blocks(root))


def axes_of(schedule: s_tir.Schedule, block: SBlockRV) -> list[Axis] | None:
    """Returns the axes of a block, or None where its loops do not bind its axes one to one."""
    loops = schedule.get_loops(block)
    iter_vars = schedule.get(block).iter_vars
    if len(loops) != len(iter_vars):
        return None
    axes = []
    for loop, iter_var in zip(loops, iter_vars, strict=True):
        if iter_var.iter_type not in (_SPATIAL, _REDUCTION):
            return None
        extent = schedule.get(loop).extent
        axes.append(
            Axis(
                loop,
                int(extent.value) if isinstance(extent, tirx.IntImm) else None,
                iter_var.iter_type == _REDUCTION,
            )
        )
    return axes


def size_of(axes: Sequence[Axis]) -> int | None:
    """Returns the number of iterations of nested axes, or None where one is symbolic."""
    size = 1
    for axis in axes:
        if axis.extent is None:
            return None
        size *= axis.extent
    return size


def is_reduction(schedule: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether a block accumulates over at least one axis."""
    return any(var.iter_type == _REDUCTION for var in schedule.get(block).iter_vars)


def is_spatial(schedule: s_tir.Schedule, block: SBlockRV) -> bool:
    """Whether each of a block's elements is computed by itself."""
    return all(var.iter_type == _SPATIAL for var in schedule.get(block).iter_vars)
