"""The code of a module's prim funcs: each by the family of its anchor, or as plain loops."""

from __future__ import annotations

from collections.abc import Collection

import tvm
from tvm import s_tir, tirx

from ingot.targets.cpu.families import FAMILIES
from ingot.targets.cpu.kernels.fusion.anchored import write_anchored
from ingot.targets.cpu.kernels.plain.plain import write_plain
from ingot.targets.cpu.kernels.plain.structure import NotPlainError
from ingot.targets.cpu.kernels.writing.emission import SCHEDULED
from ingot.targets.cpu.machine import CpuDescription

_WRITERS = {family.anchor: family.write for family in FAMILIES}


def write_module(
    module: tvm.IRModule, cpu: CpuDescription, done: Collection[str] = ()
) -> tuple[tvm.IRModule, list[str]]:
    """Writes the code of every prim func of a module.

    Args:
        module: The module.
        cpu: What code is written for.
        done: Names of prim funcs whose machine code is there already: they are left as they are.

    Returns:
        The module, and the names of the prim funcs that no kernel fits: they stay as plain loops,
        right but slow.
    """
    unscheduled = []
    for name, function in module.functions_items():
        if name.name_hint in done:
            continue
        if isinstance(function, tirx.PrimFunc) and _can_be_scheduled(function):
            try:
                module[name] = write_function(function, cpu)
            except NotPlainError:
                unscheduled.append(name.name_hint)
    return module, unscheduled


def _can_be_scheduled(function: tirx.PrimFunc) -> bool:
    """Whether a prim func is made of blocks (sorting, for one, is plain loops) and still naive."""
    done = bool(function.attrs) and bool(function.attrs.get(SCHEDULED, False))
    body = function.body
    return not done and isinstance(body, s_tir.SBlockRealize) and body.block.name_hint == "root"


def write_function(function: tirx.PrimFunc, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a prim func: by the family of its anchor, or as the plain loops it is."""
    written = write_anchored(function, _WRITERS, cpu)
    return write_plain(function, cpu) if written is None else written
