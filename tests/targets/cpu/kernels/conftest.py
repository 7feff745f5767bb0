"""Compiling and running one prim func."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import tvm
from tvm import tirx

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.tir_pipeline import TIR_PIPELINE
from ingot.targets.relax.tvm_threads import use_threads
from tests.targets.cpu.foreign_code import runs_here, translated


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A compiled prim func: ``kernel(*inputs, shape=…)`` gives its result."""

    executable: tvm.runtime.Executable
    cpu: CpuDescription

    def __call__(
        self, *inputs: np.ndarray, shape: tuple[int, ...], dtype: str = "float32", threads: int = 2
    ) -> np.ndarray:
        use_threads(threads)
        unwritten = np.nan if dtype == "float32" else 0
        result = tvm.runtime.tensor(np.full(shape, unwritten, dtype))
        self.module["main"](*map(tvm.runtime.tensor, inputs), result)
        return result.numpy()

    @functools.cached_property
    def module(self) -> tvm.runtime.Module:
        """The code, for this machine whatever processor it was made for."""
        code = self.executable.mod
        return code if runs_here(self.cpu) else translated(code, self.cpu)

    @property
    def assembly(self) -> str:
        """The machine code as text."""
        return str(self.executable.mod.inspect_source("asm"))


def compile_kernel(function: tirx.PrimFunc, cpu: CpuDescription) -> Kernel:
    """Compiles a prim func through the pipeline that lowering uses."""
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    return Kernel(tvm.compile(module, target=cpu.tvm_target(), tir_pipeline=TIR_PIPELINE), cpu)
