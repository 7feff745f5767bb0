"""From a QDQ graph to regions of the NPU and code for the CPU beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import tvm

from ingot.errors import (
    CompilationError,
    IngotError,
    ModelError,
    UnsupportedOperatorError,
)
from ingot.runtime.npu.region import Configuration, Region
from ingot.targets.base import Unsupported
from ingot.targets.cpu.kernel_cache import KernelCache
from ingot.targets.cpu.lowering import build_module, check_module, lower_module
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.npu.byoc import RegionFunction, converters, partition
from ingot.targets.npu.codegen import make_region
from ingot.targets.npu.composites import Composite, find_composites
from ingot.targets.npu.cone import is_quantize
from ingot.targets.npu.oracle import refusals
from ingot.targets.npu.partition import replace_composites
from ingot.targets.npu.placement import cpu_placement, model_macs, npu_placement
from ingot.targets.npu.vela import NotForNpu
from ingot.targets.relax.importer import import_graph
from ingot.targets.relax.linking import link_code
from ingot.targets.relax.tvm_internals import plain_reason


@dataclasses.dataclass(frozen=True)
class Partitioned:
    """A graph cut in two.

    Attributes:
        module: The CPU's part, which calls the regions by name.
        regions: The NPU's part.
        npu: What the manifest's ``placement`` says of the NPU.
        cpu: What it says of the CPU.
    """

    module: tvm.IRModule
    regions: Sequence[Region]
    npu: dict[str, Any]
    cpu: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class HostCode:
    """The CPU's part, built.

    Attributes:
        code: The linked library.
        weights: The weights by name, in the order in which the code takes them.
        kernels: What each kernel computes and moves.
    """

    code: bytes
    weights: dict[str, npt.NDArray[np.generic]]
    kernels: dict[str, dict[str, Any]]


def partition_graph(
    model: ir.Model, configuration: Configuration, *, sram: int | None, fallback: bool
) -> Partitioned:
    """Cuts a QDQ graph into regions of the NPU and the CPU's part.

    Args:
        model: A QDQ graph of static shapes; it is changed.
        configuration: The NPU.
        sram: Bytes of fast memory to stay below; None for what the memory mode says.
        fallback: Whether operators may be left to the CPU.

    Raises:
        ModelError: The model is not quantized.
        UnsupportedOperatorError: An operator is left to the CPU, and that is not allowed.
        IngotError: A region does not fit the NPU's memory.
    """
    found = find_composites(model.graph)
    if not found.composites and not any(is_quantize(node) for node in model.graph):
        raise ModelError(
            "the model is not quantized, and an NPU computes in integers: compile it with "
            "--quantize int8 --calibration DATA, or give a model of QuantizeLinear and "
            "DequantizeLinear"
        )
    composites, left = list(found.composites), list(found.unfit)
    try:
        module, regions = _compiled(model.clone(), composites, configuration, sram)
    except NotForNpu:
        refused = refusals(composites, configuration)
        if not refused:
            raise
        left = _with_refused(model, left, composites, refused)
        composites = [c for index, c in enumerate(composites) if index not in refused]
        module, regions = _compiled(model.clone(), composites, configuration, sram)
    if left and not fallback:
        first = left[0]
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise UnsupportedOperatorError(
            f"node {first.node!r} ({first.operator}){more} cannot run on "
            f"{configuration.accelerator}: {first.reason}; allow the CPU (fallback=true), or "
            "change the model"
        )
    return Partitioned(
        module,
        regions,
        npu_placement(regions, composites, model_macs(model.graph)),
        cpu_placement(left),
    )


def _compiled(
    model: ir.Model,
    composites: Sequence[Composite],
    configuration: Configuration,
    sram: int | None,
) -> tuple[tvm.IRModule, list[Region]]:
    # A copy of the graph has values of its own: what was found is found again in it.
    names = {composite.cone.output.name for composite in composites}
    own = [c for c in find_composites(model.graph).composites if c.cone.output.name in names]
    replace_composites(model, own)
    regions: list[Region] = []
    errors: list[IngotError] = []

    def emit(name: str, function: RegionFunction) -> None:
        try:
            regions.append(make_region(name, function, own, configuration, sram))
        except IngotError as error:
            # TVM would make an error of its own of it.
            errors.append(error)

    with _errors_named():
        module = import_graph(model, converters(own))
        module = partition(module, emit)
    if errors:
        raise errors[0]
    return module, regions


def _with_refused(
    model: ir.Model,
    left: Sequence[Unsupported],
    composites: Sequence[Composite],
    refused: dict[int, str],
) -> list[Unsupported]:
    """Adds what Vela refuses to what no rule takes, in graph order."""
    order = {node.name: index for index, node in enumerate(model.graph)}
    added = [
        Unsupported(str(node.name), node.op_type, reason)
        for index, reason in refused.items()
        for node in composites[index].cone.nodes
    ]
    return sorted([*left, *added], key=lambda entry: order.get(entry.node, len(order)))


def build_host(module: tvm.IRModule, cpu: CpuDescription) -> HostCode:
    """Builds the CPU's part, as the target ``cpu`` builds a whole model."""
    cache = KernelCache.of_user()
    with _errors_named():
        lowered = lower_module(module, cpu, cache)
        built = build_module(lowered, cpu, cache)
    kernels = {name: dataclasses.asdict(cost) for name, cost in lowered.kernels.items()}
    code = link_code(built.kernels, built.objects, built.program, cpu.architecture)
    return HostCode(code, lowered.weights, kernels)


def try_host(model: ir.Model, cpu: CpuDescription, *, machine_code: bool) -> None:
    """Lowers a graph as the target ``cpu`` does, for the sake of the errors alone."""
    with _errors_named():
        lowered = lower_module(import_graph(model), cpu)
        (build_module if machine_code else check_module)(lowered, cpu)


@contextmanager
def _errors_named() -> Iterator[None]:
    try:
        yield
    except IngotError:
        raise
    except Exception as error:
        # TVM raises errors of many types from its passes and from LLVM.
        raise CompilationError(
            f"no code can be generated for the CPU's part: {plain_reason(error)}"
        ) from error
