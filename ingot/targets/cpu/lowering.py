"""Relax to LLVM: the order of TVM's passes and of Ingot's kernels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, tirx

from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.manifest import KernelCost
from ingot.runtime.program import Program
from ingot.targets.cpu.called_functions import require_runtime_functions
from ingot.targets.cpu.cost import kernel_costs
from ingot.targets.cpu.families import PHASES
from ingot.targets.cpu.floats import keep_floats
from ingot.targets.cpu.kernel_cache import KernelCache, KernelCode, kernel_digests
from ingot.targets.cpu.kernels.module import write_module
from ingot.targets.cpu.layout import channels_last
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.machine_code import object_files
from ingot.targets.cpu.merging import merge_expansions
from ingot.targets.cpu.named_sizes import name_sizes, settle_names
from ingot.targets.cpu.quantized import integer_arithmetic, materialize_quantized
from ingot.targets.cpu.selection.selector import select_kernels
from ingot.targets.cpu.serial_loops import serial_loops
from ingot.targets.cpu.short_moves import move_bfloat16
from ingot.targets.cpu.unfusable import keep_numbers_apart
from ingot.targets.relax.checks import without_check_results
from ingot.targets.relax.constants import fold_constants
from ingot.targets.relax.interface import interface_of
from ingot.targets.relax.legalization import LEGALIZATIONS
from ingot.targets.relax.memory import plan_memory
from ingot.targets.relax.outputs import copy_borrowed_outputs
from ingot.targets.relax.program import make_program
from ingot.targets.relax.regions import host_region_calls
from ingot.targets.relax.weights import hoist_weights


@dataclasses.dataclass(frozen=True)
class LoweredModule:
    """A module of scheduled prim funcs, ready to build.

    Attributes:
        module: The module; its weights have been taken out.
        weights: The weights by name, in the order in which ``main`` takes them.
        unscheduled: Names of the prim funcs that stay as plain loops.
        kernels: What each prim func computes and moves, by its name.
        digests: What each prim func's machine code is kept by, by the prim func's name.
        known: Machine code that was kept, by its digest: these prim funcs stay as loops.
    """

    module: tvm.IRModule
    weights: dict[str, npt.NDArray[np.generic]]
    unscheduled: list[str]
    kernels: dict[str, KernelCost]
    digests: dict[str, str]
    known: dict[str, KernelCode]


def lower_module(
    module: tvm.IRModule, cpu: CpuDescription, cache: KernelCache | None = None
) -> LoweredModule:
    """Lowers a Relax module to scheduled prim funcs, its weights taken out.

    Args:
        module: The module.
        cpu: What it is lowered for.
        cache: Where machine code may be known from; nothing is written for such kernels.
    """
    with cpu.tvm_target():
        module = move_bfloat16(integer_arithmetic(host_region_calls(module)))
        module = channels_last(fold_constants(module), cpu)
        module = tvm.transform.Sequential(
            [
                relax.transform.DecomposeOpsForInference(),
                relax.transform.CanonicalizeBindings(),
            ]
        )(module)
        module, names = name_sizes(fold_constants(module))
        module = select_kernels(module, cpu, PHASES)
        module = tvm.transform.Sequential(
            [
                relax.backend.DispatchSampling(),
                relax.backend.DispatchSortScan(),
                relax.transform.LegalizeOps(dict(LEGALIZATIONS)),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
            ]
        )(module)
        module = settle_names(module, names)
        module = tvm.transform.Sequential(
            [
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                # Knows a reshape by its loops, which schedules replace.
                relax.transform.RewriteDataflowReshape(),
            ]
        )(keep_numbers_apart(materialize_quantized(module)))
        module = merge_expansions(keep_floats(module), cpu)
        module, weights = hoist_weights(copy_borrowed_outputs(module))
        module = relax.transform.DeadCodeElimination(["main"])(module)
        require_runtime_functions(module)
        kernels = kernel_costs(module)
        return _written(LoweredModule(module, weights, [], kernels, {}, {}), cpu, cache)


def _written(
    lowered: LoweredModule, cpu: CpuDescription, cache: KernelCache | None
) -> LoweredModule:
    """Writes the prim funcs whose machine code is not known."""
    digests = _digests(_prim_funcs(lowered.module), cpu)
    known = _known(digests.values(), cache)
    done = {name for name, digest in digests.items() if digest in known}
    module, plain = write_module(lowered.module, cpu, done)
    if cpu.thread_counts == (1,):
        module = serial_loops(module)
    plain += [name for name in done if not known[digests[name]].scheduled]
    unscheduled = [name for name in digests if name in plain]
    return dataclasses.replace(
        lowered, module=module, unscheduled=unscheduled, digests=digests, known=known
    )


def _digests(functions: dict[str, tirx.PrimFunc], cpu: CpuDescription) -> dict[str, str]:
    return dict(zip(functions, kernel_digests(functions.values(), cpu), strict=True))


def _prim_funcs(module: tvm.IRModule) -> dict[str, tirx.PrimFunc]:
    return {
        variable.name_hint: function
        for variable, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }


def _known(digests: Iterable[str], cache: KernelCache | None) -> dict[str, KernelCode]:
    if cache is None:
        return {}
    found = {digest: cache.load(digest) for digest in digests}
    return {digest: code for digest, code in found.items() if code is not None}


@dataclasses.dataclass(frozen=True)
class BuiltModule:
    """Machine code that is not linked.

    Attributes:
        kernels: The symbol of each kernel's code by the kernel's name, in the order of first use.
        objects: The object file that defines a symbol.
        program: How kernels are used.
    """

    kernels: dict[str, str]
    objects: dict[str, bytes]
    program: Program


def build_module(
    lowered: LoweredModule, cpu: CpuDescription, cache: KernelCache | None = None
) -> BuiltModule:
    """Builds a lowered module: plans its memory and generates machine code.

    Args:
        lowered: The module.
        cpu: What it was lowered for.
        cache: Where the machine code is kept.
    """
    target = cpu.tvm_target()
    with target:
        module, program = _planned(lowered)
    functions = _prim_funcs(module)
    # Planning adds functions that compute with shapes.
    added = {name: each for name, each in functions.items() if name not in lowered.digests}
    digests = {**lowered.digests, **_digests(added, cpu)}
    kernels = {name: digests[name] for name in program.kernels}
    known = {**lowered.known, **_known((digests[name] for name in added), cache)}
    missing = {digest: functions[name] for name, digest in kernels.items() if digest not in known}
    plain = {digests[name] for name in lowered.unscheduled}

    def keep(digest: str, file: bytes) -> None:
        if cache is not None:
            cache.store(digest, KernelCode(file, digest not in plain))

    made = object_files(missing, target, usable_cpus(), keep)
    if cache is not None:
        cache.tidy()
    objects = {
        each: made[each] if each in made else known[each].object for each in kernels.values()
    }
    return BuiltModule(kernels, objects, program)


def check_module(lowered: LoweredModule, cpu: CpuDescription) -> None:
    """Does what building does but for the machine code, which takes most of the time."""
    with cpu.tvm_target():
        _planned(lowered)


def _planned(lowered: LoweredModule) -> tuple[tvm.IRModule, Program]:
    module = without_check_results(lowered.module)
    interface = interface_of(module["main"], list(lowered.weights))
    module = plan_memory(module)
    return module, make_program(module["main"], interface)
