"""Executes a region's command stream: loads inputs, executes commands, reads outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ArtifactError
from ingot.runtime.npu.command_stream.accelerator import ACCELERATORS
from ingot.runtime.npu.command_stream.decode import CommandError, CommandStreamError, decode
from ingot.runtime.npu.command_stream.memory import Memory
from ingot.runtime.npu.command_stream.operations import Floats, Machine
from ingot.runtime.npu.command_stream.registers import Span
from ingot.runtime.npu.command_stream.weights import WeightOrder
from ingot.runtime.npu.executor import RegionExecutor
from ingot.runtime.npu.region import Region, RegionTensor

Array = npt.NDArray[Any]

# Scratch memory starts with this in every byte, so that a result that depends on what no command
# has written is not right by chance.
_STALE = 0xA5


class CommandStreamExecutor(RegionExecutor):
    """Executes the command stream that the NPU is given, bit by bit, in NumPy."""

    def __init__(self, region: Region) -> None:
        """Decodes the command stream.

        Raises:
            ArtifactError: The region is for an NPU that is not simulated.
            CommandStreamError: A word is no command.
        """
        super().__init__(region)
        name = region.configuration.accelerator
        if name not in ACCELERATORS:
            raise ArtifactError(
                f"NPU region {region.name} is for {name}, which the executor command-stream does "
                f"not simulate (it does {', '.join(ACCELERATORS)}); use the executor reference"
            )
        self._accelerator = ACCELERATORS[name]
        self._commands = decode(region.command_stream)
        self._weights: dict[tuple[bytes, WeightOrder], Floats] = {}

    def execute(self, inputs: Sequence[Array]) -> list[Array]:
        """Executes the commands on the inputs.

        Raises:
            CommandStreamError: A command cannot be executed: what it does is not simulated, or it
                takes bytes outside of the memory behind a base pointer. Names the command.
        """
        memory = self._memory()
        for tensor, array in zip(self.region.inputs, inputs, strict=True):
            _place(memory, tensor)[:] = array.reshape(-1).view(np.uint8)
        memory.accesses.clear()
        machine = Machine(self._accelerator, memory, weights=self._weights)
        for command in self._commands:
            try:
                machine.execute(command)
            except CommandError as error:
                raise CommandStreamError(
                    f"NPU region {self.region.name}: command {command.index} "
                    f"({command.opcode.title}) cannot be executed: {error}"
                ) from error
        return [
            _place(memory, tensor).copy().view(tensor.dtype).reshape(tensor.shape)
            for tensor in self.region.outputs
        ]

    def _memory(self) -> Memory:
        region = self.region
        regions = {region.weights_base: np.frombuffer(region.weights, np.uint8)}
        for area in (region.scratch, region.fast_scratch):
            if not area.size:
                continue
            try:
                regions[area.base] = np.full(area.size, _STALE, np.uint8)
            except MemoryError:
                raise ArtifactError(
                    f"there is no memory for the {area.size} bytes that NPU region {region.name} "
                    "takes to work in"
                ) from None
        return Memory(regions, frozenset({region.weights_base}))


def _place(memory: Memory, tensor: RegionTensor) -> npt.NDArray[np.uint8]:
    """Returns a view of a tensor's bytes."""
    try:
        return memory.span(Span(tensor.base, tensor.address, tensor.size), tensor.name)
    except CommandError as error:
        raise CommandStreamError(f"an input or output lies nowhere: {error}") from error
