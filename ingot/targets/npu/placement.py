"""What an artifact says of where its operators run, and what that costs by Vela's estimate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from ingot.runtime.npu.region import Estimate, Region
from ingot.targets.base import Unsupported
from ingot.targets.npu.composites import Composite

_LINEAR = frozenset({"Conv", "Gemm", "MatMul"})


def npu_placement(
    regions: Sequence[Region], composites: Sequence[Composite], macs: int
) -> dict[str, Any]:
    """Returns the manifest's ``placement`` of the NPU.

    Args:
        regions: The regions.
        composites: What they compute.
        macs: Multiply-adds of the whole model.
    """
    taken = sum(composite.layer.macs for composite in composites)
    borders = [tensor for region in regions for tensor in (*region.inputs, *region.outputs)]
    configuration = regions[0].configuration if regions else None
    return {
        "executor": "npu",
        "nodes": sum(len(region.nodes) for region in regions),
        "regions": [region.name for region in regions],
        **(
            {}
            if configuration is None
            else {
                "accelerator": configuration.accelerator,
                "system_configuration": configuration.system_configuration,
                "memory_mode": configuration.memory_mode,
            }
        ),
        "macs": taken,
        "share_of_macs": taken / macs if macs else 1.0,
        "borders": len(borders),
        "border_bytes": sum(tensor.size for tensor in borders),
        "estimate": total_estimate([region.estimate for region in regions]),
    }


def cpu_placement(left: Sequence[Unsupported]) -> dict[str, Any]:
    """Returns what the manifest says of operators that stay on the CPU, borders aside."""
    return {
        "executor": "tvm",
        "nodes": len(left),
        "left": [
            {"node": entry.node, "operator": entry.operator, "reason": entry.reason}
            for entry in left
        ],
    }


def total_estimate(estimates: Sequence[Estimate]) -> dict[str, Any]:
    """Returns Vela's estimates of all regions together; they run one after another."""
    cycles = sum(estimate.cycles for estimate in estimates)
    clock = estimates[0].clock_hz if estimates else 0.0
    macs = sum(estimate.macs for estimate in estimates)
    memories: dict[str, dict[str, int]] = {}
    for estimate in estimates:
        for name, memory in estimate.memories.items():
            total = memories.setdefault(name, {"peak": 0, "read": 0, "written": 0, "cycles": 0})
            total["peak"] = max(total["peak"], memory.peak)
            total["read"] += memory.read
            total["written"] += memory.written
            total["cycles"] += memory.cycles
    return {
        "source": "Vela's estimate",
        "cycles": cycles,
        "npu_cycles": sum(estimate.npu_cycles for estimate in estimates),
        "macs": macs,
        "clock_hz": clock,
        "inferences_per_second": clock / cycles if cycles else None,
        "memories": memories,
    }


def model_macs(graph: ir.Graph) -> int:
    """Returns the multiply-adds of a graph's layers with weights, where shapes are static."""
    total = 0
    for node in graph:
        if node.op_type not in _LINEAR or node.domain != "" or len(node.inputs) < 2:
            continue
        weights, output = node.inputs[1], node.outputs[0]
        shapes = [None if value is None else _static(value) for value in (weights, output)]
        if shapes[0] is None or shapes[1] is None:
            continue
        per_output = _terms(node, shapes[0])
        total += per_output * math.prod(shapes[1])
    return total


def _terms(node: ir.Node, weights: Sequence[int]) -> int:
    """How many products are summed up for one output."""
    if node.op_type == "Conv":
        return math.prod(weights[1:])
    if node.op_type == "Gemm" and (node.attributes.get_int("transB") or 0):
        return weights[1]
    return weights[-2] if len(weights) > 1 else weights[0]


def _static(value: ir.Value) -> list[int] | None:
    if value.shape is None:
        return None
    sizes = [size for size in value.shape if isinstance(size, int)]
    return sizes if len(sizes) == len(value.shape) else None
