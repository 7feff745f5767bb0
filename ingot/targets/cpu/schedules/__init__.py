"""Schedules for prim funcs on the CPU: analytical, no tuning run."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.schedules.anchored import Family, write_anchored
from ingot.targets.cpu.schedules.column_reduction import schedule_column_reduction
from ingot.targets.cpu.schedules.convolution import schedule_convolution
from ingot.targets.cpu.schedules.depthwise import schedule_depthwise
from ingot.targets.cpu.schedules.emission import SCHEDULED
from ingot.targets.cpu.schedules.integer.convolution import schedule_integer_convolution
from ingot.targets.cpu.schedules.integer.matmul import schedule_integer_matmul
from ingot.targets.cpu.schedules.matmul import schedule_matmul
from ingot.targets.cpu.schedules.patches import schedule_patches
from ingot.targets.cpu.schedules.plain import write_plain
from ingot.targets.cpu.schedules.pooling import schedule_max_pooling, schedule_sum_pooling
from ingot.targets.cpu.schedules.structure import NotPlainError

_FAMILIES: dict[str, Family] = {
    "column_reduction": schedule_column_reduction,
    "convolution": schedule_convolution,
    "depthwise": schedule_depthwise,
    "integer_convolution": schedule_integer_convolution,
    "integer_matmul": schedule_integer_matmul,
    "matmul": schedule_matmul,
    "max_pooling": schedule_max_pooling,
    "open_convolution": schedule_patches,
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
            except NotPlainError:
                unscheduled.append(name.name_hint)
    return module, unscheduled


def _can_be_scheduled(function: tirx.PrimFunc) -> bool:
    """Whether a prim func is made of blocks (sorting, for one, is plain loops) and still naive."""
    done = bool(function.attrs) and bool(function.attrs.get(SCHEDULED, False))
    body = function.body
    return not done and isinstance(body, s_tir.SBlockRealize) and body.block.name_hint == "root"


def schedule_function(function: tirx.PrimFunc, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a prim func: by the family of its anchor, or as the plain loops it is."""
    written = write_anchored(function, _FAMILIES, cpu)
    return write_plain(function, cpu) if written is None else written
