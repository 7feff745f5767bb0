"""Running a graph through the CPU target in this process, without linking."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import tvm
from onnx_ir.passes.common import ShapeInferencePass
from tvm import relax, tirx

from ingot.targets.cpu.kernels.writing.emission import FAMILY
from ingot.targets.cpu.lowering import LoweredModule, lower_module
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.tir_pipeline import TIR_PIPELINE
from ingot.targets.relax.checks import without_check_results
from ingot.targets.relax.importer import import_graph
from ingot.targets.relax.memory import plan_memory
from ingot.targets.relax.tvm_threads import use_threads
from tests.targets.cpu.foreign_code import runs_here, translated

_AT_BORDERS = re.compile(r"(transpose|reshape)\d*")

Run = Callable[..., list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A model compiled in this process: ``compiled(*inputs)`` gives its outputs."""

    lowered: LoweredModule
    executable: relax.VMExecutable
    cpu: CpuDescription

    def __call__(self, *inputs: np.ndarray, threads: int = 2) -> list[np.ndarray]:
        use_threads(threads)
        arrays = [*inputs, *self.lowered.weights.values()]
        result = self._machine["main"](*(tvm.runtime.tensor(array) for array in arrays))
        results = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
        return [tensor.numpy() for tensor in results]

    @functools.cached_property
    def _machine(self) -> relax.VirtualMachine:
        """Made once: LLVM links the code anew for each."""
        return relax.VirtualMachine(self._runnable, tvm.cpu())

    @functools.cached_property
    def _runnable(self) -> relax.VMExecutable:
        """The executable, its code for this machine whatever processor it was made for."""
        if not runs_here(self.cpu):
            (code,) = self._code  # before it is replaced
            self.executable.mod.clear_imports()
            self.executable.mod.import_module(translated(code, self.cpu))
        return self.executable

    @functools.cached_property
    def _code(self) -> list[tvm.runtime.Module]:
        """LLVM's modules, for the processor that they were made for."""
        return [module for module in _with_imports(self.executable.mod) if module.kind == "llvm"]

    @property
    def kernels(self) -> dict[str, str]:
        """The family of each prim func by name; "loops" where no kernel of Ingot's was selected."""
        return {
            variable.name_hint: str(function.attrs.get(FAMILY, "loops"))
            for variable, function in self.lowered.module.functions_items()
            if isinstance(function, tirx.PrimFunc)
        }

    @property
    def work(self) -> list[str]:
        """Families of all prim funcs but what rearranges tensors at a network's borders."""
        return [family for name, family in self.kernels.items() if not _AT_BORDERS.fullmatch(name)]

    @property
    def assembly(self) -> str:
        """The machine code as text."""
        return "\n".join(module.inspect_source("asm") for module in self._code)


def _with_imports(module: tvm.runtime.Module) -> Iterator[tvm.runtime.Module]:
    yield module
    for imported in module.imports:
        yield from _with_imports(imported)


def virtual_machine_code(lowered: LoweredModule, cpu: CpuDescription) -> relax.VMExecutable:
    """Builds a lowered module for TVM's own virtual machine, which runs it without linking."""

    @tvm.transform.module_pass(opt_level=0)
    def plan(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return plan_memory(module)

    module = without_check_results(lowered.module)
    return relax.build(module, cpu.tvm_target(), relax_pipeline=plan, tir_pipeline=TIR_PIPELINE)


Compile = Callable[..., Compiled]


@pytest.fixture(scope="session")
def compile_for_cpu() -> Compile:
    """Compiles a model for a processor or its name: ``compile_for_cpu(model, mcpu=…)``."""

    def compile_(model: onnx.ModelProto, mcpu: str | CpuDescription = "native") -> Compiled:
        graph = ir.from_proto(model)
        ShapeInferencePass()(graph)
        cpu = describe_cpu(mcpu, threads=2) if isinstance(mcpu, str) else mcpu
        lowered = lower_module(import_graph(graph), cpu)
        assert lowered.unscheduled == []
        return Compiled(lowered, virtual_machine_code(lowered, cpu), cpu)

    return compile_


@pytest.fixture(scope="session")
def run_on_cpu(compile_for_cpu: Compile) -> Run:
    """Compiles a model and runs it: ``run(model, *inputs, mcpu=…)`` gives its outputs."""

    def run(model: onnx.ModelProto, *inputs: np.ndarray, mcpu: str = "native") -> list[np.ndarray]:
        return compile_for_cpu(model, mcpu)(*inputs)

    return run
