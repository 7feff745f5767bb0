"""What a report says of an artifact for an NPU: Vela's estimates, and what runs where.

Nothing here was measured: an NPU is no part of the machine that makes the report. What an NPU
computes is known bit by bit, by Arm's reference model; how long it takes is Vela's estimate.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pydantic

from ingot.runtime import ArtifactReader, Manifest
from ingot.runtime.npu.region import REGION_FOLDER, LayerEstimate, Region, member_name


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class NpuLayer(_Model):
    """Vela's estimate for one node of the model, or for several that are one operation.

    Attributes:
        name: The node, the last one where an operation has several.
        operators: Vela's names of its operations, in order.
        cycles: Cycles that it takes, memory included.
        npu_cycles: Cycles that the arithmetic alone takes.
        macs: Multiply-adds.
        utilization: Multiply-adds per cycle as a part of what the NPU has.
        memory_cycles: Cycles of access, by memory.
    """

    name: str
    operators: tuple[str, ...]
    cycles: int
    npu_cycles: int
    macs: int
    utilization: float
    memory_cycles: dict[str, int]


class NpuMemory(_Model):
    """Vela's estimate of one memory: bytes, and cycles of access, of an inference."""

    peak: int
    read: int
    written: int
    cycles: int


class NpuLeft(_Model):
    """A node that is left to the CPU, and why."""

    node: str
    operator: str
    reason: str


class NpuEstimate(_Model):
    """What Vela estimates of an artifact, and what of the model it is for.

    Attributes:
        source: Whose estimate it is, with the version.
        accelerator: Such as ``ethos-u55-256``.
        system_configuration: Vela's: clock and memories.
        memory_mode: Vela's: where weights and activations lie.
        clock_hz: The clock of the system configuration.
        cycles: Cycles of an inference on the NPU.
        npu_cycles: Cycles of the arithmetic alone.
        macs: Multiply-adds that the NPU does.
        utilization: Multiply-adds per cycle as a part of what the NPU has.
        inferences_per_second: Back to back, at the clock; None where nothing is on the NPU.
        memories: By the memory's name.
        layers: In the order of the command stream.
        command_stream_bytes: Of all regions.
        weight_bytes: Of all regions, encoded.
        share_of_macs: Of the model's multiply-adds, those on the NPU.
        regions: How many pieces the NPU's part is cut into.
        borders: Tensors that cross between CPU and NPU.
        border_bytes: Their bytes.
        left: What is left to the CPU.
    """

    source: str
    accelerator: str
    system_configuration: str
    memory_mode: str
    clock_hz: float
    cycles: int
    npu_cycles: int
    macs: int
    utilization: float
    inferences_per_second: float | None
    memories: dict[str, NpuMemory]
    layers: tuple[NpuLayer, ...]
    command_stream_bytes: int
    weight_bytes: int
    share_of_macs: float
    regions: int
    borders: int
    border_bytes: int
    left: tuple[NpuLeft, ...]


def is_for_npu(manifest: Manifest) -> bool:
    """Whether an artifact is for an NPU."""
    return manifest.target.kind == "npu"


def read_estimate(path: Path) -> NpuEstimate:
    """Reads the estimates of an artifact for an NPU.

    Raises:
        ArtifactError: The file is damaged.
    """
    reader = ArtifactReader(path)
    manifest = reader.manifest
    npu, cpu = manifest.placement["npu"], manifest.placement["cpu"]
    regions = [Region.read(name, reader.member) for name in manifest.npu_regions]
    total = npu["estimate"]
    peak = regions[0].configuration.macs_per_cycle if regions else 0
    versions = regions[0].versions if regions else {}
    return NpuEstimate(
        source=" ".join(["Vela", versions.get("ethos-u-vela", "")]).strip(),
        accelerator=npu.get("accelerator", "none"),
        system_configuration=npu.get("system_configuration", "none"),
        memory_mode=npu.get("memory_mode", "none"),
        clock_hz=total["clock_hz"],
        cycles=total["cycles"],
        npu_cycles=total["npu_cycles"],
        macs=total["macs"],
        utilization=_utilization(total["macs"], total["cycles"], peak),
        inferences_per_second=total["inferences_per_second"],
        memories={name: NpuMemory(**memory) for name, memory in total["memories"].items()},
        layers=tuple(_layers((row for r in regions for row in r.estimate.layers), peak)),
        command_stream_bytes=sum(len(region.command_stream) for region in regions),
        weight_bytes=sum(len(region.weights) for region in regions),
        share_of_macs=npu["share_of_macs"],
        regions=len(regions),
        borders=npu["borders"],
        border_bytes=npu["border_bytes"],
        left=tuple(NpuLeft(**entry) for entry in cpu["left"]),
    )


def computed_alike(manifest: Manifest) -> tuple[str, ...]:
    """What decides an artifact's results: digests of the CPU's members and of the TOSA graphs.

    NPUs of several kinds run the same graphs to the same bits, and need be judged once.
    """
    regions = {member_name(name, "graph.tosa") for name in manifest.npu_regions}
    return tuple(
        f"{name} {member.sha256}"
        for name, member in manifest.members.items()
        if name in regions or not name.startswith(f"{REGION_FOLDER}/")
    )


def _layers(rows: Iterable[LayerEstimate], peak: int) -> list[NpuLayer]:
    """Sums up what one node became: its tensors are called ``NODE:1``, ``NODE:2`` and so on."""
    layers: list[NpuLayer] = []
    for row in rows:
        name = row.name.rpartition(":")[0] or row.name
        if layers and layers[-1].name == name:
            before = layers.pop()
            memories = {
                key: before.memory_cycles.get(key, 0) + cycles
                for key, cycles in row.memory_cycles.items()
            }
            operators = before.operators
            sums = (before.cycles, before.npu_cycles, before.macs)
        else:
            memories, operators, sums = dict(row.memory_cycles), (), (0, 0, 0)
        cycles, macs = sums[0] + row.cycles, sums[2] + row.macs
        layers.append(
            NpuLayer(
                name=name,
                operators=(*operators, row.operator),
                cycles=cycles,
                npu_cycles=sums[1] + row.npu_cycles,
                macs=macs,
                utilization=_utilization(macs, cycles, peak),
                memory_cycles=memories,
            )
        )
    return layers


def _utilization(macs: int, cycles: int, peak: int) -> float:
    return macs / (cycles * peak) if cycles and peak else 0.0
