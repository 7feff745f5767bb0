"""The CPU target."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import ClassVar

import onnx_ir as ir
import pydantic

from ingot.runtime.manifest import TargetInfo
from ingot.targets.base import Lowered, Target, TargetOptions, Unsupported
from ingot.targets.cpu.importer import import_graph, unsupported_nodes
from ingot.targets.cpu.linking import link_executable
from ingot.targets.cpu.lowering import build_module, lower_module
from ingot.targets.cpu.machine import CpuDescription, describe_cpu


class CpuOptions(TargetOptions):
    """Options of the CPU target.

    Attributes:
        mcpu: LLVM's name of the processor, ``native`` for this machine's or ``generic``.
        threads: Cores that parallel loops are made for; the default is this machine's. How many
            threads run is the session's choice.
    """

    mcpu: str = "native"
    threads: int | None = pydantic.Field(default=None, ge=1)


class CpuTarget(Target):
    """Code for a CPU, by TVM and LLVM."""

    kind: ClassVar[str] = "cpu"
    summary: ClassVar[str] = "x86-64 and aarch64 processors, through Relax and LLVM"
    options_type: ClassVar[type[TargetOptions]] = CpuOptions

    def __init__(self, options: TargetOptions) -> None:
        """Takes validated options."""
        assert isinstance(options, CpuOptions)
        self.options = options

    @functools.cached_property
    def cpu(self) -> CpuDescription:
        """The processor that code is made for."""
        return describe_cpu(self.options.mcpu, self.options.threads)

    @property
    def spec(self) -> str:
        """The target as one string, the processor's name resolved."""
        threads = f",threads={self.options.threads}" if self.options.threads else ""
        return f"cpu:mcpu={self.cpu.mcpu}{threads}"

    def unsupported(self, model: ir.Model) -> Sequence[Unsupported]:
        """Returns the nodes that have no lowering to the CPU, in graph order."""
        return unsupported_nodes(model)

    def lower(self, model: ir.Model) -> Lowered:
        """Lowers a graph through Relax and LLVM to a linked library.

        Raises:
            UnsupportedOperatorError: A node cannot be lowered; names it.
        """
        marks = [time.perf_counter()]
        module = import_graph(model)
        marks.append(time.perf_counter())
        module, weights = lower_module(module, self.cpu)
        marks.append(time.perf_counter())
        executable = build_module(module, self.cpu)
        marks.append(time.perf_counter())
        code = link_executable(executable, self.cpu.architecture)
        marks.append(time.perf_counter())
        nodes = sum(1 for _ in model.graph.all_nodes())
        return Lowered(
            code=code,
            weights=weights,
            info=TargetInfo(self.kind, self.spec, self.cpu.architecture, self.cpu.features),
            placement={"cpu": {"executor": "tvm", "nodes": nodes}},
            stage_seconds={
                stage: end - begin
                for stage, begin, end in zip(
                    ("import", "lower", "build", "link"), marks, marks[1:], strict=False
                )
            },
        )
