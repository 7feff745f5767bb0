"""Compiling and running one prim func."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tvm
from tvm import tirx

from ingot.runtime.cpu_features import missing_features
from ingot.runtime.threads import use_threads
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.tir_pipeline import TIR_PIPELINE


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A compiled prim func: ``kernel(*inputs, shape=…)`` gives its result."""

    module: tvm.runtime.Module

    def __call__(self, *inputs: np.ndarray, shape: tuple[int, ...], threads: int = 2) -> np.ndarray:
        use_threads(threads)
        result = tvm.runtime.tensor(np.full(shape, np.nan, np.float32))
        self.module["main"](*map(tvm.runtime.tensor, inputs), result)
        return result.numpy()

    @property
    def assembly(self) -> str:
        """The machine code as text."""
        return str(self.module.mod.inspect_source("asm"))


def compile_kernel(function: tirx.PrimFunc, cpu: CpuDescription) -> Kernel:
    """Compiles a prim func through the pipeline that lowering uses."""
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    return Kernel(tvm.compile(module, target=cpu.tvm_target(), tir_pipeline=TIR_PIPELINE))


def runnable(mcpu: str) -> CpuDescription:
    """Describes a processor; skips the test where this machine cannot run code for it."""
    cpu = describe_cpu(mcpu, threads=2)
    if missing_features(cpu.features):
        pytest.skip(f"this machine cannot run code for {mcpu}")
    return cpu
