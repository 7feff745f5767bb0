"""Relax to launches: the order of TVM's passes, and its schedule rules for GPUs."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, tirx

from ingot.runtime.cuda.plan import Plan
from ingot.runtime.interface import Tensor
from ingot.targets.cuda.checks import checked_bounds
from ingot.targets.cuda.planning import make_plan
from ingot.targets.cuda.schedules import scheduled_kernels
from ingot.targets.relax.checks import without_check_results
from ingot.targets.relax.constants import fold_constants
from ingot.targets.relax.interface import interface_of
from ingot.targets.relax.legalization import LEGALIZATIONS
from ingot.targets.relax.memory import plan_memory
from ingot.targets.relax.outputs import copy_borrowed_outputs
from ingot.targets.relax.program import make_program
from ingot.targets.relax.weights import hoist_weights

# The bounds of every device from compute capability 7.0 on that need no asking: CUDA programming
# guide, "technical specifications per compute capability".
_LIMITS = {
    "max_num_threads": 1024,
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 48 << 10,
    "thread_warp_size": 32,
    "registers_per_block": 64 << 10,
}


@dataclasses.dataclass(frozen=True)
class LoweredRegion:
    """A graph as launches, not compiled to machine code.

    Attributes:
        source: CUDA C of the kernels; the same for all architectures of a plan.
        plan: The launches.
        weights: The weights by name.
    """

    source: str
    plan: Plan
    weights: dict[str, npt.NDArray[np.generic]]


def tvm_target(architecture: str) -> tvm.target.Target:
    """Returns TVM's description of an architecture."""
    return tvm.target.Target({"kind": "cuda", "arch": architecture, **_LIMITS}, host="llvm")


def lower_module(module: tvm.IRModule, architectures: tuple[str, ...]) -> LoweredRegion:
    """Lowers a Relax module of fixed sizes to launches of kernels.

    Args:
        module: The module.
        architectures: What for; kernels use what the least of them has.

    Raises:
        CompilationError: A part of it cannot be launched; says which.
    """
    target = tvm_target(architectures[0])
    with target:
        module, weights = hoist_weights(copy_borrowed_outputs(_legalized(module)))
        module = relax.transform.DeadCodeElimination(["main"])(module)
        module = without_check_results(module)
        interface = interface_of(module["main"], list(weights))
        module = plan_memory(module)
        program = make_program(module["main"], interface)
        called = tvm.IRModule(
            {
                variable: function
                for variable, function in module.functions_items()
                if isinstance(function, tirx.PrimFunc) and variable.name_hint in program.kernels
            }
        )
        checks = {
            variable.name_hint: bounds
            for variable, function in called.functions_items()
            if (bounds := checked_bounds(variable.name_hint, function)) is not None
        }
        launched = {
            variable: function
            for variable, function in called.functions_items()
            if variable.name_hint not in checks
        }
        kernels = scheduled_kernels(tvm.IRModule(launched), target)
    tensors = [*interface.inputs, *interface.outputs]
    plan = make_plan(
        program, kernels.hosts, checks, weights, lambda at: _bytes(tensors[at]), architectures
    )  # fmt: skip
    return LoweredRegion(kernels.source, plan, weights)


def _legalized(module: tvm.IRModule) -> tvm.IRModule:
    module = tvm.transform.Sequential(
        [
            relax.transform.DecomposeOpsForInference(),
            relax.transform.CanonicalizeBindings(),
        ]
    )(fold_constants(module))
    return tvm.transform.Sequential(
        [
            relax.transform.LegalizeOps(dict(LEGALIZATIONS)),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            # Knows a reshape by its loops, which schedules replace.
            relax.transform.RewriteDataflowReshape(),
        ]
    )(fold_constants(module))


def _bytes(tensor: Tensor) -> int:
    sizes = [int(size) for size in tensor.shape if size is not None]
    assert len(sizes) == len(tensor.shape), "sizes are fixed"
    return int(np.prod(sizes, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
