"""What an artifact holds of one NPU region: a part of the graph that the NPU runs by itself.

The members of region ``NAME`` are ``npu/NAME/region.json`` (what this module describes),
``graph.tosa`` (the TOSA 1.0 flatbuffer that was compiled), ``command_stream.bin`` and
``weights.bin`` (what the NPU's driver is given).

An Ethos-U addresses memory as an offset from one of eight base pointers, which the driver sets
before it starts the command stream (Arm, "Ethos-U55 NPU Technical Reference Manual", registers
``BASEP0`` to ``BASEP7``). An :class:`Area` is such a base pointer's index with the bytes behind it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ingot.errors import ArtifactError
from ingot.runtime.typed_json import decode, parse_json

REGION_FOLDER = "npu"
_DESCRIPTION = "region.json"
FILES = {
    "graph": "graph.tosa",
    "command_stream": "command_stream.bin",
    "weights": "weights.bin",
}
"""Members by the attribute of :class:`Region` that holds their bytes."""


_DTYPES = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "float32"})
_HIGHEST_RANK = 8
# Of a 32-bit address space, in which an Ethos-U's tensors and scratch memory lie.
_LARGEST_AREA = 1 << 32


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The NPU that a region was compiled for, in the words of Arm's Vela.

    Attributes:
        accelerator: ``ethos-u55-256``: the product and its multiply-adds per cycle.
        system_configuration: Section ``System_Config`` of Vela's configuration file.
        memory_mode: Section ``Memory_Mode`` of it.
    """

    accelerator: str
    system_configuration: str
    memory_mode: str

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-adds of 8 bits in a cycle."""
        return int(self.accelerator.rpartition("-")[2])

    @property
    def product(self) -> str:
        """The accelerator without its size: ``ethos-u55``."""
        return self.accelerator.rpartition("-")[0]


@dataclasses.dataclass(frozen=True)
class Area:
    """Memory behind one base pointer.

    Attributes:
        base: The base pointer's index.
        size: How many bytes the command stream uses behind it; 0 where it uses none.
    """

    base: int
    size: int


@dataclasses.dataclass(frozen=True)
class RegionTensor:
    """An input or output as the NPU sees it: dense, last axis fastest (NHWC for an image).

    Attributes:
        name: Its name in the TOSA graph.
        dtype: NumPy's name of the element type; multi-byte elements are little endian.
        shape: Its dimensions, the same as in the TOSA graph.
        base: Index of the base pointer of the area that holds it.
        address: Offset of its first byte in that area.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    base: int
    address: int

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class LayerEstimate:
    """Vela's estimate for one operation of the command stream; never a measured time.

    Attributes:
        name: The TOSA tensor that the operation writes.
        operator: Vela's name of the operation.
        cycles: Cycles that it takes, memory included.
        npu_cycles: Cycles that the arithmetic alone takes.
        macs: Multiply-adds.
        memory_cycles: Cycles of access, by memory (``Sram``, ``Dram``, ``OffChipFlash``).
    """

    name: str
    operator: str
    cycles: int
    npu_cycles: int
    macs: int
    memory_cycles: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class MemoryEstimate:
    """Vela's estimate of the traffic with one memory.

    Attributes:
        peak: The most bytes in use at a time.
        read: Bytes read in an inference.
        written: Bytes written in an inference.
        cycles: Cycles of access.
    """

    peak: int
    read: int
    written: int
    cycles: int


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Vela's estimate of a region; never a measured time.

    Attributes:
        cycles: Cycles of an inference.
        npu_cycles: Cycles of the arithmetic alone.
        macs: Multiply-adds.
        clock_hz: The clock of the system configuration.
        memories: By the memory's name.
        layers: In the order of the command stream.
    """

    cycles: int
    npu_cycles: int
    macs: int
    clock_hz: float
    memories: Mapping[str, MemoryEstimate]
    layers: tuple[LayerEstimate, ...]

    @property
    def inferences_per_second(self) -> float:
        """At the configured clock, back to back."""
        return self.clock_hz / self.cycles if self.cycles else 0.0


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What is said of a region, its members apart.

    Attributes:
        name: Its name in the artifact; the name of the function that the host code calls.
        configuration: What it was compiled for.
        inputs: In the order of the TOSA graph's inputs, which is the host code's.
        outputs: Likewise.
        scratch: Where inputs, outputs and intermediate values lie.
        fast_scratch: The second scratch area of a memory mode with dedicated SRAM; size 0 without.
        weights_base: Index of the base pointer of ``weights``.
        versions: Versions of the compilers that made it, by package.
        nodes: Nodes of the source model that it computes.
        estimate: Vela's estimate of its cost.
    """

    name: str
    configuration: Configuration
    inputs: tuple[RegionTensor, ...]
    outputs: tuple[RegionTensor, ...]
    scratch: Area
    fast_scratch: Area
    weights_base: int
    versions: Mapping[str, str]
    nodes: tuple[str, ...]
    estimate: Estimate

    def facts(self) -> dict[str, Any]:
        """These facts by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(_Facts)}


@dataclasses.dataclass(frozen=True)
class _Description(_Facts):
    """What the artifact's description holds: the digests in place of the members."""

    digests: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Region(_Facts):
    """One NPU region.

    Attributes:
        graph: The TOSA flatbuffer.
        command_stream: The command stream: little-endian 32-bit words, without a driver's header.
        weights: Encoded weights and scales, read-only.
    """

    graph: bytes
    command_stream: bytes
    weights: bytes

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of graph, command stream and weights, in hex, by attribute."""
        return {name: _digest(getattr(self, name)) for name in FILES}

    def members(self) -> dict[str, bytes]:
        """Returns the artifact's members of this region by name."""
        described = {name: _plain(value) for name, value in self.facts().items()}
        described["digests"] = self.digests
        text = json.dumps(described, indent=1) + "\n"
        files = {file: getattr(self, name) for name, file in FILES.items()}
        return {
            member_name(self.name, file): data
            for file, data in {_DESCRIPTION: text.encode(), **files}.items()
        }

    @classmethod
    def read(cls, name: str, member: Callable[[str], memoryview]) -> Region:
        """Reads a region from an artifact and checks its digests.

        Args:
            name: The region's name.
            member: Returns a member's bytes; :meth:`ingot.runtime.ArtifactReader.member`.

        Raises:
            ArtifactError: A member is missing, damaged or not what its digest says.
        """
        files = {key: bytes(member(member_name(name, file))) for key, file in FILES.items()}
        description = member_name(name, _DESCRIPTION)
        try:
            stored: _Description = decode(_Description, parse_json(member(description)))
            if stored.name != name:
                raise ValueError(f"it describes region {stored.name!r}")
            _check_sizes(stored)
        except ValueError as error:
            raise ArtifactError(f"member {description} is damaged: {error}") from error
        region = cls(**{**stored.facts(), **files})
        region.check(stored.digests)
        return region

    def check(self, digests: Mapping[str, str]) -> None:
        """Checks that graph, command stream and weights are the bytes with these digests.

        Raises:
            ArtifactError: One is not; names it.
        """
        for attribute, actual in self.digests.items():
            if digests.get(attribute) != actual:
                raise ArtifactError(
                    f"NPU region {self.name} is damaged: {FILES[attribute]} does not have the "
                    "digest that its description states; copy or compile the artifact again"
                )


def _check_sizes(facts: _Facts) -> None:
    """Refuses what no NPU has, before anything of that size is allocated.

    Raises:
        ValueError: A tensor or an area is impossible; says which.
    """
    for tensor in (*facts.inputs, *facts.outputs):
        possible = (
            tensor.dtype in _DTYPES
            and len(tensor.shape) <= _HIGHEST_RANK
            and min(tensor.shape, default=1) >= 0
            and math.prod(tensor.shape) <= _LARGEST_AREA
            and 0 <= tensor.address <= _LARGEST_AREA
        )
        if not possible:
            raise ValueError(f"tensor {tensor.name!r} is impossible")
    for area in (facts.scratch, facts.fast_scratch):
        if not 0 <= area.size <= _LARGEST_AREA:
            raise ValueError(f"the area of base pointer {area.base} has {area.size} bytes")


def member_name(region: str, file: str) -> str:
    """Returns the name of a region's member in the artifact."""
    return f"{REGION_FOLDER}/{region}/{file}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _plain(value: Any) -> Any:
    """Returns what JSON can hold for a field's value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return dict(value) if isinstance(value, Mapping) else value
