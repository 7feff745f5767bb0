"""Schedules for prim funcs on the CPU: analytical, no tuning run."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.schedules.column_reduction import schedule_column_reduction
from ingot.targets.cpu.schedules.convolution import schedule_convolution
from ingot.targets.cpu.schedules.depthwise import schedule_depthwise
from ingot.targets.cpu.schedules.elementwise import inline_chains, schedule_elementwise
from ingot.targets.cpu.schedules.epilogue import NotFusableError, take_apart
from ingot.targets.cpu.schedules.matmul import schedule_matmul
from ingot.targets.cpu.schedules.pooling import schedule_max_pooling, schedule_sum_pooling
from ingot.targets.cpu.schedules.reduction import schedule_reduction
from ingot.targets.cpu.schedules.structure import is_reduction, is_spatial, leaf_blocks
from ingot.targets.cpu.selection.base import ANCHOR

_SCHEDULED = "tirx.is_scheduled"
_FAMILIES = {
    "column_reduction": schedule_column_reduction,
    "convolution": schedule_convolution,
    "depthwise": schedule_depthwise,
    "matmul": schedule_matmul,
    "max_pooling": schedule_max_pooling,
    "sum_pooling": schedule_sum_pooling,
}


def schedule_module(module: tvm.IRModule, cpu: CpuDescription) -> tuple[tvm.IRModule, list[str]]:
    """Schedules every prim func of a module.

    Returns:
        The module, and the names of the prim funcs that no schedule fits: they stay as plain loops,
        right but slow.
    """
    unscheduled = []
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and _can_be_scheduled(function):
            try:
                module[name] = schedule_function(function, cpu)
            except s_tir.ScheduleError:
                unscheduled.append(name.name_hint)
    return module, unscheduled


def _can_be_scheduled(function: tirx.PrimFunc) -> bool:
    """Whether a prim func is made of blocks (sorting, for one, is plain loops) and still naive."""
    done = bool(function.attrs) and bool(function.attrs.get(_SCHEDULED, False))
    body = function.body
    return not done and isinstance(body, s_tir.SBlockRealize) and body.block.name_hint == "root"


def schedule_function(function: tirx.PrimFunc, cpu: CpuDescription) -> tirx.PrimFunc:
    """Schedules a prim func: element-wise chains inlined, then each block that is left."""
    written = _write_kernel(function, cpu)
    if written is not None:
        return written
    schedule = s_tir.Schedule(function)
    blocks = inline_chains(schedule, leaf_blocks(schedule))
    epilogues: set[str] = set()
    for block in blocks:
        if schedule.get(block).name_hint in epilogues:
            continue
        if is_reduction(schedule, block):
            epilogues |= schedule_reduction(schedule, block, cpu)
        elif is_spatial(schedule, block):
            schedule_elementwise(schedule, block, cpu)
    return schedule.mod["main"].with_attr(_SCHEDULED, True)


def _write_kernel(function: tirx.PrimFunc, cpu: CpuDescription) -> tirx.PrimFunc | None:
    """Writes the code of a prim func that begins with an anchor; None where it does not."""
    try:
        kernel = take_apart(function)
    except NotFusableError:
        return None
    family = kernel.annotations.get(ANCHOR)
    return None if family is None else _FAMILIES[str(family)](kernel, cpu)
