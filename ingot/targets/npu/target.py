"""The NPU target: what Ethos-U runs goes to it, the rest to the CPU beside it."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import onnx_ir as ir
import pydantic

from ingot.arithmetic import Arithmetic
from ingot.errors import ModelError
from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.manifest import RegionInfo, TargetInfo, TensorSpec
from ingot.runtime.npu.region import Configuration, Region, RegionTensor
from ingot.targets.base import Lowered, Target, TargetOptions, Unsupported
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.options import ProcessorOptions, processor_spec
from ingot.targets.npu.arithmetic import ARITHMETIC
from ingot.targets.npu.configuration import configure, require_extra
from ingot.targets.relax.importer import has_lowering
from ingot.targets.relax.tvm_threads import use_threads


class NpuOptions(ProcessorOptions):
    """Options of the NPU target, and of the processor beside the NPU.

    Attributes:
        accelerator: ``ethos-u55-256`` and so on; given without its key.
        system_config: Vela's system configuration; the product's default if not given.
        memory_mode: Vela's memory mode; the product's default if not given.
        sram: Bytes of fast memory to stay below; what the memory mode says if not given.
        fallback: Whether operators that the NPU lacks may run on the CPU.
    """

    accelerator: str
    system_config: str | None = None
    memory_mode: str | None = None
    sram: int | None = pydantic.Field(default=None, ge=1)
    fallback: bool = True


class NpuTarget(Target):
    """Command streams for Arm Ethos-U, by TOSA and Vela, and code for the CPU beside it."""

    kind: ClassVar[str] = "npu"
    summary: ClassVar[str] = "Arm Ethos-U55, U65 and U85 NPUs, through TOSA and Vela (INT8)"
    options_type: ClassVar[type[TargetOptions]] = NpuOptions
    positional: ClassVar[str | None] = "accelerator"
    batch: ClassVar[int | None] = 1
    may_be_left: ClassVar[bool] = False

    def __init__(self, options: TargetOptions) -> None:
        """Takes validated options.

        Raises:
            UsageError: No such accelerator, system configuration or memory mode; lists those known.
            IngotError: The extra ``npu`` is not installed; says how.
        """
        assert isinstance(options, NpuOptions)
        self.options = options
        require_extra()
        self.configuration: Configuration = configure(
            options.accelerator, options.system_config, options.memory_mode
        )

    @functools.cached_property
    def cpu(self) -> CpuDescription:
        """The processor beside the NPU."""
        return self.options.describe()

    @property
    def spec(self) -> str:
        """The target as one string, defaults filled in."""
        configuration, options = self.configuration, self.options
        parts = [
            configuration.accelerator,
            f"system_config={configuration.system_configuration}",
            f"memory_mode={configuration.memory_mode}",
        ]
        parts += [] if options.sram is None else [f"sram={options.sram}"]
        parts += [] if options.fallback else ["fallback=false"]
        return f"npu:{','.join([*parts, processor_spec(self.cpu)])}"

    @property
    def info(self) -> TargetInfo:
        """The NPU, and the architecture and features that the code beside it needs."""
        return TargetInfo(self.kind, self.spec, self.cpu.architecture, self.cpu.features)

    @property
    def pass_options(self) -> Mapping[str, Mapping[str, Any]]:
        """No multiplication by a vector of factors, which is a layer."""
        without = {"insert": False}
        return {"quantization.equalization": without, "quantization.smoothing": without}

    @property
    def arithmetic(self) -> Arithmetic:
        """Integers alone, between any two layers."""
        return ARITHMETIC

    def knows(self, domain: str, operator: str) -> bool:
        """Whether the NPU or, beside it, the CPU lowers an operator."""
        return has_lowering(domain, operator)

    def unsupported(self, model: ir.Model) -> Sequence[Unsupported]:
        """Returns the nodes that neither the NPU nor the CPU beside it takes, in graph order."""
        from ingot.targets.relax.importer import refused_nodes

        return refused_nodes(model)

    def try_lower(self, model: ir.Model, *, machine_code: bool) -> None:
        """Lowers a graph to code for the CPU beside the NPU, for the sake of the errors alone."""
        from ingot.targets.npu.lowering import try_host

        try_host(model, self.cpu, machine_code=machine_code)

    def lower(self, model: ir.Model) -> Lowered:
        """Lowers a QDQ graph to regions of the NPU and linked code for the rest.

        Raises:
            UnsupportedOperatorError: A node can be lowered to neither, or the CPU is not allowed.
            ModelError: The model is not quantized, or its shapes are not static.
            IngotError: The model does not fit the NPU's memory.
        """
        # The compilers' modules are heavy, and the registry imports this one.
        from ingot.targets.npu.lowering import build_host, partition_graph

        # Folding constants runs kernels: the first of them makes this thread's pool, for good.
        use_threads(usable_cpus())
        _require_static(model)
        marks = [time.perf_counter()]
        parts = partition_graph(
            model, self.configuration, sram=self.options.sram, fallback=self.options.fallback
        )
        marks.append(time.perf_counter())
        host = build_host(parts.module, self.cpu)
        marks.append(time.perf_counter())
        return Lowered(
            code=host.code,
            weights=host.weights,
            info=self.info,
            placement={"npu": parts.npu, "cpu": {**parts.cpu, "kernels": host.kernels}},
            stage_seconds={"npu": marks[1] - marks[0], "host": marks[2] - marks[1]},
            regions={region.name: _described(region) for region in parts.regions},
            members={
                name: data for region in parts.regions for name, data in region.members().items()
            },
        )


def _described(region: Region) -> RegionInfo:
    def specs(tensors: Sequence[RegionTensor]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors)

    return RegionInfo("npu", region.nodes, specs(region.inputs), specs(region.outputs))


def _require_static(model: ir.Model) -> None:
    for value in model.graph.inputs:
        if value.shape is None or not all(isinstance(size, int) for size in value.shape):
            raise ModelError(
                f"input {value.name!r} has dynamic dimensions {value.shape}, and an NPU's command "
                f"stream is for fixed ones: give its shape with --shape {value.name}=SIZES"
            )
