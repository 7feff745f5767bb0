"""What a GPU is told to do: the kernels of a region, their arguments, and the memory between.

Shapes are fixed, so that all is known when the model is compiled: a plan is a list of launches, and
an address is an offset into one of two blocks of device memory. The weights lie in one, everything
else (inputs, outputs and what is between) in the other, the arena.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json

from ingot.errors import ArtifactError
from ingot.runtime.typed_json import decode, parse_json

PLAN_VERSION = 1
EXECUTOR = "cuda"
ARENA, WEIGHTS = 0, 1
# Bytes; cuMemAlloc aligns to it, and vector loads of kernels rely on 16 of them.
ALIGNMENT = 256

Address = tuple[int, int]
"""A block, ``ARENA`` or ``WEIGHTS``, and an offset in bytes."""


@dataclasses.dataclass(frozen=True)
class Buffer:
    """A piece of a block: where it begins, and its bytes."""

    address: Address
    size: int


@dataclasses.dataclass(frozen=True)
class Launch:
    """One launch of a kernel.

    Attributes:
        kernel: Its number.
        grid: Blocks along x, y and z.
        block: Threads of a block along x, y and z.
        shared: Bytes of dynamic shared memory.
        arguments: The addresses that it takes, in order.
    """

    kernel: int
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    arguments: tuple[Address, ...]


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight of the artifact, and its piece of the block of weights."""

    name: str
    buffer: Buffer


@dataclasses.dataclass(frozen=True)
class Constant:
    """A small tensor that the plan holds itself, its bytes in base64."""

    buffer: Buffer
    data: str

    def contents(self) -> bytes:
        """Returns its bytes.

        Raises:
            ArtifactError: They are damaged.
        """
        try:
            contents = base64.b64decode(self.data, validate=True)
        except binascii.Error as error:
            raise ArtifactError(f"the artifact's plan is damaged: a constant: {error}") from error
        if len(contents) != self.buffer.size:
            raise ArtifactError("the artifact's plan is damaged: a constant of another size")
        return contents


@dataclasses.dataclass(frozen=True)
class Check:
    """A check of an input of integers, made before anything is copied.

    Attributes:
        input: Its number.
        low: What each value is at least.
        high: What each value is below.
        message: What is wrong otherwise, with places for the value, the bounds and ``high - 1``.
    """

    input: int
    low: int
    high: int
    message: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The launches of a region.

    Attributes:
        version: Of this format.
        architectures: Those that there is machine code for, ``sm_80``.
        arena: Bytes of the arena.
        weight_bytes: Bytes of the block of weights.
        inputs: Where the region's inputs are expected.
        outputs: Where its outputs are found.
        weights: What is copied to the block of weights.
        constants: What is copied to the arena once.
        checks: Checks of the inputs.
        kernels: Names of the kernels.
        launches: In order.
    """

    version: int
    architectures: tuple[str, ...]
    arena: int
    weight_bytes: int
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    weights: tuple[Weight, ...]
    constants: tuple[Constant, ...]
    checks: tuple[Check, ...]
    kernels: tuple[str, ...]
    launches: tuple[Launch, ...]

    def to_json(self) -> bytes:
        """Returns the plan as JSON."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes | memoryview) -> Plan:
        """Parses a plan, and checks that it stays within its blocks.

        Raises:
            ArtifactError: It is none, does not, or is of a version that this Ingot does not know.
        """
        try:
            raw = parse_json(text)
            version = raw.get("version") if isinstance(raw, dict) else None
            if version != PLAN_VERSION:
                raise ArtifactError(
                    f"the artifact has a plan for a GPU of version {version}, this Ingot runs "
                    f"version {PLAN_VERSION}: compile the model again"
                )
            plan: Plan = decode(cls, raw)
            plan._check()
        except ValueError as error:
            raise ArtifactError(f"the artifact's plan for a GPU is damaged: {error}") from error
        return plan

    def _check(self) -> None:
        sizes = {ARENA: self.arena, WEIGHTS: self.weight_bytes}
        buffers = [*self.inputs, *self.outputs]
        buffers += [weight.buffer for weight in self.weights]
        buffers += [constant.buffer for constant in self.constants]
        pieces = [(buffer.address, buffer.size) for buffer in buffers]
        for check in self.checks:
            if not 0 <= check.input < len(self.inputs):
                raise ValueError(f"there is no input {check.input} to check")
        for launch in self.launches:
            if not 0 <= launch.kernel < len(self.kernels):
                raise ValueError(f"there is no kernel {launch.kernel}")
            if min(*launch.grid, *launch.block) < 1 or launch.shared < 0:
                raise ValueError(f"kernel {launch.kernel} cannot be launched so")
            pieces += [(address, 1) for address in launch.arguments]
        for (block, offset), size in pieces:
            if block not in sizes or offset < 0 or size < 0 or offset + size > sizes[block]:
                raise ValueError(f"{size} bytes at {offset} are outside of block {block}")


def plan_member(region: str) -> str:
    """Returns the name of the member that holds a region's plan."""
    return f"cuda/{region}.json"


def code_member(region: str, architecture: str) -> str:
    """Returns the name of the member that holds a region's machine code for an architecture."""
    return f"cuda/{region}.{architecture}.cubin"
