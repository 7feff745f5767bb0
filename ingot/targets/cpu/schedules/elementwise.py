"""Blocks whose elements are computed one by one: parallel outside, vectors inside."""

from __future__ import annotations

from tvm import s_tir
from tvm.s_tir.schedule import LoopRV, SBlockRV

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.schedules.structure import axes_of, is_spatial, size_of

# Below this many elements, waking a second thread costs more than it saves.
SMALLEST_PARALLEL = 4096


def inline_chains(schedule: s_tir.Schedule, blocks: list[SBlockRV]) -> list[SBlockRV]:
    """Inlines element-wise blocks into the one element-wise block that reads them.

    A block that a reduction reads, or several blocks read, keeps its buffer: inlining it would
    compute its elements more than once.

    Returns:
        The blocks that are left, in order.
    """
    left = []
    for block in blocks:
        consumers = schedule.get_consumers(block)
        if (
            len(consumers) == 1
            and is_spatial(schedule, block)
            and is_spatial(schedule, consumers[0])
        ):
            schedule.compute_inline(block)
        else:
            left.append(block)
    return left


def schedule_elementwise(schedule: s_tir.Schedule, block: SBlockRV, cpu: CpuDescription) -> None:
    """Makes the outer loops of a block parallel and its innermost loop a vector loop.

    The innermost loop is split by the vector width where that divides it; another extent is left
    to LLVM, which vectorizes it with a remainder loop.
    """
    axes = axes_of(schedule, block)
    if not axes:
        return
    loops = [axis.loop for axis in axes]
    innermost = axes[-1].extent
    lanes = cpu.float_lanes
    if innermost is not None and innermost % lanes == 0 and innermost > lanes:
        outer, inner = schedule.split(loops[-1], [None, lanes])
        schedule.vectorize(inner)
        parallelize(schedule, [*loops[:-1], outer], size_of(axes))
    elif len(loops) > 1:
        parallelize(schedule, loops[:-1], size_of(axes))


def parallelize(schedule: s_tir.Schedule, loops: list[LoopRV], work: int | None) -> LoopRV | None:
    """Fuses loops and runs them in parallel, where there is enough work.

    Args:
        schedule: The schedule.
        loops: Nested loops, outermost first.
        work: Number of innermost iterations in all; None where it is symbolic.

    Returns:
        The fused loop, or None where there were no loops.
    """
    if not loops:
        return None
    fused = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
    if work is None or work >= SMALLEST_PARALLEL:
        schedule.parallel(fused)
    return fused
