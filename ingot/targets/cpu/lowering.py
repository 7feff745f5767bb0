"""Relax to LLVM: the order of TVM's passes and of Ingot's kernels."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, tirx

from ingot.runtime.manifest import KernelCost
from ingot.runtime.program import Program
from ingot.targets.cpu.called_functions import require_runtime_functions
from ingot.targets.cpu.cost import kernel_costs
from ingot.targets.cpu.floats import keep_floats
from ingot.targets.cpu.kernels.module import write_module
from ingot.targets.cpu.layout import channels_last
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.merging import merge_expansions
from ingot.targets.cpu.named_sizes import name_sizes, settle_names
from ingot.targets.cpu.quantized import integer_arithmetic, materialize_quantized
from ingot.targets.cpu.selection import select_kernels
from ingot.targets.cpu.serial_loops import serial_loops
from ingot.targets.cpu.tir_pipeline import TIR_PIPELINE
from ingot.targets.cpu.unfusable import keep_numbers_apart
from ingot.targets.relax.allocations import bounded_allocations
from ingot.targets.relax.checks import without_check_results
from ingot.targets.relax.constants import fold_constant_layouts
from ingot.targets.relax.interface import interface_of
from ingot.targets.relax.legalization import LEGALIZATIONS
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
    """

    module: tvm.IRModule
    weights: dict[str, npt.NDArray[np.generic]]
    unscheduled: list[str]
    kernels: dict[str, KernelCost]


def lower_module(module: tvm.IRModule, cpu: CpuDescription) -> LoweredModule:
    """Lowers a Relax module to scheduled prim funcs, its weights taken out."""
    with cpu.tvm_target():
        module = integer_arithmetic(host_region_calls(module))
        module = channels_last(fold_constant_layouts(module), cpu)
        module = tvm.transform.Sequential(
            [
                relax.transform.DecomposeOpsForInference(),
                relax.transform.CanonicalizeBindings(),
            ]
        )(module)
        module, names = name_sizes(module)
        module = select_kernels(module, cpu)
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
        module, unscheduled = write_module(module, cpu)
        if cpu.thread_counts == (1,):
            module = serial_loops(module)
    return LoweredModule(module, weights, unscheduled, kernels)


@dataclasses.dataclass(frozen=True)
class BuiltModule:
    """Machine code that is not linked.

    Attributes:
        library: The kernels; None where there are none.
        program: How they are used.
    """

    library: tvm.runtime.Module | None
    program: Program


def build_module(lowered: LoweredModule, cpu: CpuDescription) -> BuiltModule:
    """Builds a lowered module: plans its memory and generates machine code."""
    target = cpu.tvm_target()
    with target:
        module, program = _planned(lowered)
    kernels = {
        variable: function
        for variable, function in module.functions.items()
        if isinstance(function, tirx.PrimFunc)
    }
    library = None
    if kernels:
        module = tvm.IRModule(kernels, attrs=module.attrs)
        library = tvm.tirx.build(module, target, pipeline=TIR_PIPELINE)
    return BuiltModule(library, program)


def check_module(lowered: LoweredModule, cpu: CpuDescription) -> None:
    """Does what building does but for the machine code, which takes most of the time."""
    with cpu.tvm_target():
        _planned(lowered)


def _planned(lowered: LoweredModule) -> tuple[tvm.IRModule, Program]:
    module = without_check_results(lowered.module)
    interface = interface_of(module["main"], list(lowered.weights))
    module = plan_memory(module)
    return module, make_program(module["main"], interface)


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def _bounded_allocations(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    return bounded_allocations(module)


def plan_memory(module: tvm.IRModule) -> tvm.IRModule:
    """Returns a module whose ``main`` calls kernels and allocates what they need."""
    return tvm.transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
            relax.transform.StaticPlanBlockMemory(),
            relax.transform.LowerAllocTensor(),
            _bounded_allocations,
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ]
    )(module)
