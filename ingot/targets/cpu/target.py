"""The CPU target."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import onnx_ir as ir

from ingot.arithmetic import Arithmetic
from ingot.errors import CompilationError, IngotError
from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.manifest import TargetInfo
from ingot.targets.base import Lowered, Target, TargetOptions, Unsupported
from ingot.targets.cpu.bfloat16 import multiplies_pairs
from ingot.targets.cpu.kernel_cache import KernelCache
from ingot.targets.cpu.kernels.words.dot import DotProduct
from ingot.targets.cpu.lowering import build_module, check_module, lower_module
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.options import ProcessorOptions, processor_spec
from ingot.targets.relax.importer import has_lowering, import_graph, refused_nodes
from ingot.targets.relax.linking import link_code
from ingot.targets.relax.regions import DOMAIN as REGION_DOMAIN
from ingot.targets.relax.tvm_internals import plain_reason
from ingot.targets.relax.tvm_threads import use_threads


class CpuOptions(ProcessorOptions):
    """Options of the CPU target: the processor."""


@contextlib.contextmanager
def _errors_named(model: ir.Model) -> Iterator[None]:
    """Makes one line of whatever TVM raises, with advice where dimensions are dynamic."""
    try:
        yield
    except IngotError:
        raise
    except Exception as error:
        # TVM raises errors of many types from its passes and from LLVM.
        raise CompilationError(
            f"no code can be generated for the graph: {plain_reason(error)}{_shape_advice(model)}"
        ) from error


def _shape_advice(model: ir.Model) -> str:
    for value in model.graph.inputs:
        if value.shape is None or all(isinstance(size, int) for size in value.shape):
            continue
        shown = "x".join(str(size) if isinstance(size, int) else "N" for size in value.shape)
        return (
            f"; input {value.name!r} has dynamic dimensions {value.shape}, which may be why: "
            f"bind them with --shape {value.name}={shown}, a number for each N"
        )
    return ""


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
        return self.options.describe()

    @property
    def spec(self) -> str:
        """The target as one string: the same on any machine makes the same code."""
        return f"cpu:{processor_spec(self.cpu)}"

    @property
    def info(self) -> TargetInfo:
        """The processor, its architecture and the features that code for it needs."""
        return TargetInfo(self.kind, self.spec, self.cpu.architecture, self.cpu.features)

    @property
    def arithmetic(self) -> Arithmetic:
        """Pairs of bfloat16 are multiplied by weights, which are packed."""
        if not multiplies_pairs(self.cpu.features):
            return Arithmetic()
        products = frozenset({"Conv", "Gemm", "MatMul"})
        return Arithmetic(sixteen_bits={"bf16": products}, by_constants=products)

    @property
    def pass_options(self) -> Mapping[str, Mapping[str, Any]]:
        """Weights leave 16-bit sums room where products are added in them."""
        sums = 4 if DotProduct.of(self.cpu).saturates else 1
        return {"quantization.qdq": {"weight_sums": sums}}

    def knows(self, domain: str, operator: str) -> bool:
        """Whether an operator has a lowering."""
        return has_lowering(domain, operator)

    def unsupported(self, model: ir.Model) -> Sequence[Unsupported]:
        """Returns the nodes that have no lowering to the CPU, in graph order."""
        with _errors_named(model):
            return refused_nodes(model)

    def try_lower(self, model: ir.Model, *, machine_code: bool) -> None:
        """Lowers a graph for the sake of the errors alone; nothing is linked."""
        use_threads(usable_cpus())
        with _errors_named(model):
            if machine_code:
                cache = KernelCache.of_user()
                build_module(lower_module(import_graph(model), self.cpu, cache), self.cpu, cache)
            else:
                check_module(lower_module(import_graph(model), self.cpu), self.cpu)

    def lower(self, model: ir.Model) -> Lowered:
        """Lowers a graph through Relax and LLVM to a linked library.

        Raises:
            UnsupportedOperatorError: A node cannot be lowered; names it.
        """
        # Folding constants runs kernels: the first of them makes this thread's pool, for good.
        use_threads(usable_cpus())
        cache = KernelCache.of_user()
        marks = [time.perf_counter()]
        with _errors_named(model):
            module = import_graph(model)
            marks.append(time.perf_counter())
            lowered = lower_module(module, self.cpu, cache)
            marks.append(time.perf_counter())
            built = build_module(lowered, self.cpu, cache)
            marks.append(time.perf_counter())
        code = link_code(built.kernels, built.objects, built.program, self.cpu.architecture)
        marks.append(time.perf_counter())
        nodes = sum(node.domain != REGION_DOMAIN for node in model.graph.all_nodes())
        return Lowered(
            code=code,
            weights=lowered.weights,
            info=self.info,
            placement={
                "cpu": {
                    "executor": "tvm",
                    "nodes": nodes,
                    "unscheduled": lowered.unscheduled,
                    "kernels": {
                        name: dataclasses.asdict(cost) for name, cost in lowered.kernels.items()
                    },
                }
            },
            stage_seconds={
                stage: end - begin
                for stage, begin, end in zip(
                    ("import", "schedule", "build", "link"), marks, marks[1:], strict=False
                )
            },
        )
