"""Arm's Vela, in process: from a TOSA graph to a command stream, weights and estimates.

``ethosu.regor`` is Vela's compiler core. It is not a documented interface, so its version is
pinned by the extra, and only this module knows it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ethosu import regor

from ingot.errors import IngotError, first_line
from ingot.runtime.npu.region import (
    Area,
    Configuration,
    Estimate,
    LayerEstimate,
    MemoryEstimate,
)
from ingot.targets.npu.configuration import arena_limit, clock_hz, vela_system

_UNLIMITED = 1 << 32
# Memories inside of the NPU, whose traffic is part of its arithmetic.
_INTERNAL = frozenset({"shram", "lutram"})
_ACCESS = "_ac"
# Kinds of driver actions (Vela's driver_actions.py).
_CONFIGURE, _COMMAND_STREAM, _NOTHING = 0x01, 0x02, 0x05
_WORD = 4


class NotForNpu(IngotError):  # noqa: N818 - an answer of Vela's, mostly no error
    """Vela does not compile a graph for this NPU."""


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where a graph's input or output lies: the base pointer's index, and the offset behind it."""

    base: int
    address: int
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What Vela makes of a graph.

    Attributes:
        command_stream: Little-endian 32-bit words.
        weights: Encoded weights and scales.
        weights_base: Index of their base pointer.
        scratch: Memory of activations.
        fast_scratch: The second such memory, where the memory mode has one.
        inputs: Where the inputs lie.
        outputs: Where the outputs lie.
        estimate: What it estimates of the cost.
    """

    command_stream: bytes
    weights: bytes
    weights_base: int
    scratch: Area
    fast_scratch: Area
    inputs: tuple[Placed, ...]
    outputs: tuple[Placed, ...]
    estimate: Estimate


def compile_graph(
    graph: bytes,
    configuration: Configuration,
    sram: int | None = None,
    *,
    form: Literal["TOSA", "TFLITE"] = "TOSA",
) -> Compiled:
    """Compiles a flatbuffer.

    Args:
        graph: The flatbuffer.
        configuration: The NPU.
        sram: Bytes of fast memory to stay below; by default what the memory mode says.
        form: What the flatbuffer is: TOSA, or a quantized TensorFlow Lite model.

    Raises:
        NotForNpu: The NPU lacks an operator of the graph.
        IngotError: Activations do not fit the fast memory.
    """
    limit = sram if sram is not None else arena_limit(configuration)
    product = "".join(part.capitalize() for part in configuration.product.split("-"))
    try:
        model = regor.compile(
            product, graph, form, vela_system(configuration), options=_options(limit)
        )
    except RuntimeError as error:
        raise NotForNpu(f"Vela cannot compile this for {configuration.accelerator}: "
                        f"{first_line(error)}") from error  # fmt: skip
    if model.perf_report.cpuOps:
        raise NotForNpu(f"Vela leaves operators to the CPU on {configuration.accelerator}")
    compiled = _read(model, configuration)
    _check_fit(model.perf_report, configuration, limit)
    return compiled


def _options(limit: int | None) -> str:
    return (
        "[compiler]\nenable_db=true\noutput_format=Raw\ncop_format=COP1\n"
        f"[scheduler]\noptimize=Performance\narena_size_limit={limit or _UNLIMITED}\n"
        "disable_feature=\ncpu_tensor_alignment=16\ntensor_allocator=HillClimb\n[graph]\n"
    )


def _check_fit(report: Any, configuration: Configuration, limit: int | None) -> None:
    staging = report.memories.get(report.stagingMemoryArea)
    if limit is not None and staging is not None and staging.peakUsage > limit:
        raise IngotError(
            f"the model needs {staging.peakUsage:,} bytes of {report.stagingMemoryArea} on "
            f"{configuration.accelerator} and memory mode {configuration.memory_mode} gives "
            f"{limit:,}: choose another memory mode, or a larger option sram"
        )


def _read(model: Any, configuration: Configuration) -> Compiled:
    scratch = Area(model.scratch.region, model.scratch.size)
    fast = Area(model.scratch_fast.region, model.scratch_fast.size)
    return Compiled(
        command_stream=_without_actions(bytes(model.command_stream)),
        weights=bytes(model.read_only.data),
        weights_base=model.read_only.region,
        scratch=scratch,
        fast_scratch=fast,
        inputs=_placed(model.inputs),
        outputs=_placed(model.outputs),
        estimate=_estimate(model, configuration),
    )


def _without_actions(payload: bytes) -> bytes:
    """Returns the command stream of a driver's payload.

    The payload is ``COP1`` and words of driver actions, whose kind is the lowest byte: the
    configuration (two words follow), padding, and the command stream, whose length in words is in
    the upper half, with eight more bits above the kind.

    Raises:
        IngotError: The payload has another form.
    """
    words = struct.unpack(f"<{len(payload) // _WORD}I", payload)
    position = 1
    while position < len(words):
        word = words[position]
        position += 1
        if word & 0xFF == _CONFIGURE:
            position += 2
        elif word & 0xFF == _COMMAND_STREAM:
            length = (word >> 16) | (word >> 8 & 0xFF) << 16
            return payload[position * _WORD : (position + length) * _WORD]
        elif word & 0xFF != _NOTHING:
            break
    raise IngotError("Vela's command stream has an unknown form: install ethos-u-vela 5.2")


def _placed(tensors: Sequence[Any]) -> tuple[Placed, ...]:
    return tuple(Placed(t.region, t.address, tuple(t.shape)) for t in tensors)


def _estimate(model: Any, configuration: Configuration) -> Estimate:
    report = model.perf_report
    memories = {
        str(name): MemoryEstimate(
            peak=memory.peakUsage,
            read=sum(access.bytesRead for access in memory.accesses.values()),
            written=sum(access.bytesWritten for access in memory.accesses.values()),
            cycles=memory.totalAccessCycles,
        )
        for name, memory in report.memories.items()
        if str(name).lower() not in _INTERNAL
    }
    return Estimate(
        cycles=report.totalCycles,
        npu_cycles=report.npuCycles,
        macs=report.macCount,
        clock_hz=clock_hz(configuration),
        memories=memories,
        layers=tuple(_layers(model.opt_database.tables["perf"])),
    )


def _layers(table: Any) -> list[LayerEstimate]:
    rows: list[Mapping[str, str]] = [
        dict(zip(table.header, row, strict=True)) for row in table.data
    ]
    layers = []
    for row in rows:
        accesses = {}
        for key, value in row.items():
            memory = key.removesuffix(_ACCESS)
            if memory != key and memory.lower() not in _INTERNAL:
                with contextlib.suppress(ValueError):
                    accesses[memory] = int(value)
        layers.append(
            LayerEstimate(
                name=row["name"],
                operator=row["operator"],
                cycles=int(row["op_cycles"]),
                npu_cycles=int(row["npu_cycles"]),
                macs=int(row["mac_count"]),
                memory_cycles=accesses,
            )
        )
    return layers
