"""The words of a command stream as commands.

A command is one 32-bit word: an opcode in bits 0 to 9, a control field in bits 14 and 15 and a
parameter in bits 16 to 31. Control 0 (``CMD0``) is the word alone; control 1 (``CMD1``) is
followed by a word of payload. The opcodes and the bits that each parameter uses are those of
Arm's register description (ethos-u-core-driver, ``ethosu65_interface.h``, and ethos-u-vela,
``ethos_u55_regs.py``; both products share it).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from ingot.errors import ArtifactError

_PAYLOAD = 0x4000


class CommandStreamError(ArtifactError):
    """A command stream cannot be executed; names the command."""


class CommandError(Exception):
    """Why one command cannot be executed; the executor adds which command it is."""


class Opcode(enum.IntEnum):
    """Commands by control and opcode bits, named as Arm names them after ``NPU_``."""

    OP_STOP = 0x000
    OP_IRQ = 0x001
    OP_CONV = 0x002
    OP_DEPTHWISE = 0x003
    OP_POOL = 0x005
    OP_ELEMENTWISE = 0x006
    OP_DMA_START = 0x010
    OP_DMA_WAIT = 0x011
    OP_KERNEL_WAIT = 0x012
    OP_PMU_MASK = 0x013
    SET_IFM_PAD_TOP = 0x100
    SET_IFM_PAD_LEFT = 0x101
    SET_IFM_PAD_RIGHT = 0x102
    SET_IFM_PAD_BOTTOM = 0x103
    SET_IFM_DEPTH_M1 = 0x104
    SET_IFM_PRECISION = 0x105
    SET_IFM_UPSCALE = 0x107
    SET_IFM_ZERO_POINT = 0x109
    SET_IFM_WIDTH0_M1 = 0x10A
    SET_IFM_HEIGHT0_M1 = 0x10B
    SET_IFM_HEIGHT1_M1 = 0x10C
    SET_IFM_IB_END = 0x10D
    SET_IFM_REGION = 0x10F
    SET_OFM_WIDTH_M1 = 0x111
    SET_OFM_HEIGHT_M1 = 0x112
    SET_OFM_DEPTH_M1 = 0x113
    SET_OFM_PRECISION = 0x114
    SET_OFM_BLK_WIDTH_M1 = 0x115
    SET_OFM_BLK_HEIGHT_M1 = 0x116
    SET_OFM_BLK_DEPTH_M1 = 0x117
    SET_OFM_ZERO_POINT = 0x118
    SET_OFM_WIDTH0_M1 = 0x11A
    SET_OFM_HEIGHT0_M1 = 0x11B
    SET_OFM_HEIGHT1_M1 = 0x11C
    SET_OFM_REGION = 0x11F
    SET_KERNEL_WIDTH_M1 = 0x120
    SET_KERNEL_HEIGHT_M1 = 0x121
    SET_KERNEL_STRIDE = 0x122
    SET_PARALLEL_MODE = 0x123
    SET_ACC_FORMAT = 0x124
    SET_ACTIVATION = 0x125
    SET_ACTIVATION_MIN = 0x126
    SET_ACTIVATION_MAX = 0x127
    SET_WEIGHT_REGION = 0x128
    SET_SCALE_REGION = 0x129
    SET_AB_START = 0x12D
    SET_BLOCKDEP = 0x12F
    SET_DMA0_SRC_REGION = 0x130
    SET_DMA0_DST_REGION = 0x131
    SET_IFM2_BROADCAST = 0x180
    SET_IFM2_SCALAR = 0x181
    SET_IFM2_PRECISION = 0x185
    SET_IFM2_ZERO_POINT = 0x189
    SET_IFM2_WIDTH0_M1 = 0x18A
    SET_IFM2_HEIGHT0_M1 = 0x18B
    SET_IFM2_HEIGHT1_M1 = 0x18C
    SET_IFM2_IB_START = 0x18D
    SET_IFM2_REGION = 0x18F
    SET_IFM_BASE0 = _PAYLOAD | 0x000
    SET_IFM_BASE1 = _PAYLOAD | 0x001
    SET_IFM_BASE2 = _PAYLOAD | 0x002
    SET_IFM_BASE3 = _PAYLOAD | 0x003
    SET_IFM_STRIDE_X = _PAYLOAD | 0x004
    SET_IFM_STRIDE_Y = _PAYLOAD | 0x005
    SET_IFM_STRIDE_C = _PAYLOAD | 0x006
    SET_OFM_BASE0 = _PAYLOAD | 0x010
    SET_OFM_BASE1 = _PAYLOAD | 0x011
    SET_OFM_BASE2 = _PAYLOAD | 0x012
    SET_OFM_BASE3 = _PAYLOAD | 0x013
    SET_OFM_STRIDE_X = _PAYLOAD | 0x014
    SET_OFM_STRIDE_Y = _PAYLOAD | 0x015
    SET_OFM_STRIDE_C = _PAYLOAD | 0x016
    SET_WEIGHT_BASE = _PAYLOAD | 0x020
    SET_WEIGHT_LENGTH = _PAYLOAD | 0x021
    SET_SCALE_BASE = _PAYLOAD | 0x022
    SET_SCALE_LENGTH = _PAYLOAD | 0x023
    SET_OFM_SCALE = _PAYLOAD | 0x024
    SET_OPA_SCALE = _PAYLOAD | 0x025
    SET_OPB_SCALE = _PAYLOAD | 0x026
    SET_DMA0_SRC = _PAYLOAD | 0x030
    SET_DMA0_DST = _PAYLOAD | 0x031
    SET_DMA0_LEN = _PAYLOAD | 0x032
    SET_IFM2_BASE0 = _PAYLOAD | 0x080
    SET_IFM2_BASE1 = _PAYLOAD | 0x081
    SET_IFM2_BASE2 = _PAYLOAD | 0x082
    SET_IFM2_BASE3 = _PAYLOAD | 0x083
    SET_IFM2_STRIDE_X = _PAYLOAD | 0x084
    SET_IFM2_STRIDE_Y = _PAYLOAD | 0x085
    SET_IFM2_STRIDE_C = _PAYLOAD | 0x086

    @property
    def title(self) -> str:
        """Arm's name of the command."""
        return f"NPU_{self.name}"

    @property
    def has_payload(self) -> bool:
        """Whether a word of payload follows."""
        return bool(self & _PAYLOAD)

    @property
    def parameter_bits(self) -> int:
        """The bits of the parameter that mean something; the others are to be 0."""
        if self in _PARAMETER_BITS:
            return _PARAMETER_BITS[self]
        return _ADDRESS_BITS if self.has_payload else 0xFFFF


# The payload is the low half of a 40-bit address or stride, the parameter the high half.
_ADDRESS_BITS = 0x00FF
_SHIFT_BITS = 0x003F
_REGION_BITS = 0x0007
_PARAMETER_BITS = {
    Opcode.OP_CONV: 0,
    Opcode.OP_DEPTHWISE: 0,
    Opcode.OP_POOL: 0x0003,
    Opcode.OP_ELEMENTWISE: 0x003F,
    Opcode.OP_DMA_START: 0,
    Opcode.OP_DMA_WAIT: 0x000F,
    Opcode.OP_KERNEL_WAIT: 0x0003,
    Opcode.SET_IFM_PAD_TOP: 0x00FF,
    Opcode.SET_IFM_PAD_LEFT: 0x00FF,
    Opcode.SET_IFM_PAD_RIGHT: 0x00FF,
    Opcode.SET_IFM_PAD_BOTTOM: 0x00FF,
    Opcode.SET_IFM_PRECISION: 0xC3CD,
    Opcode.SET_IFM_UPSCALE: 0x0003,
    Opcode.SET_IFM_IB_END: 0x003F,
    Opcode.SET_IFM_REGION: _REGION_BITS,
    Opcode.SET_OFM_PRECISION: 0xC1C7,
    Opcode.SET_OFM_REGION: _REGION_BITS,
    Opcode.SET_KERNEL_STRIDE: 0x027F,
    Opcode.SET_PARALLEL_MODE: 0x0001,
    Opcode.SET_ACC_FORMAT: 0x0003,
    Opcode.SET_ACTIVATION: 0x701F,
    Opcode.SET_WEIGHT_REGION: _REGION_BITS,
    Opcode.SET_SCALE_REGION: _REGION_BITS,
    Opcode.SET_AB_START: 0x003F,
    Opcode.SET_BLOCKDEP: 0x0003,
    Opcode.SET_DMA0_SRC_REGION: 0x0707,
    Opcode.SET_DMA0_DST_REGION: 0x0707,
    Opcode.SET_IFM2_BROADCAST: 0x00C7,
    Opcode.SET_IFM2_PRECISION: 0x00CD,
    Opcode.SET_IFM2_IB_START: 0x003F,
    Opcode.SET_IFM2_REGION: _REGION_BITS,
    Opcode.SET_WEIGHT_LENGTH: 0,
    Opcode.SET_SCALE_LENGTH: 0,
    Opcode.SET_OFM_SCALE: _SHIFT_BITS,
    Opcode.SET_OPA_SCALE: _SHIFT_BITS,
    Opcode.SET_OPB_SCALE: 0,
}


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        index: Its position among the commands.
        opcode: What it is.
        parameter: The upper 16 bits of its word.
        payload: The word that follows, 0 if none does.
    """

    index: int
    opcode: Opcode
    parameter: int
    payload: int


def decode(stream: bytes) -> list[Command]:
    """Returns the commands of a command stream, ``NPU_OP_STOP`` last.

    Args:
        stream: Little-endian 32-bit words.

    Raises:
        CommandStreamError: A word is no command, has bits that mean nothing, or the stream does
            not end with ``NPU_OP_STOP``.
    """
    if len(stream) % 4:
        raise CommandStreamError(
            f"the command stream has {len(stream)} bytes, which are not whole 32-bit words"
        )
    words: list[int] = np.frombuffer(stream, "<u4").tolist()
    commands: list[Command] = []
    position = 0
    while position < len(words):
        command = _command(words, position, len(commands))
        commands.append(command)
        position += 1 + command.opcode.has_payload
        if command.opcode is Opcode.OP_STOP:
            break
    else:
        raise CommandStreamError("the command stream ends without NPU_OP_STOP: it is cut off")
    if position != len(words):
        raise CommandStreamError(
            f"the command stream has {len(words) - position} words after NPU_OP_STOP"
        )
    return commands


def _command(words: list[int], position: int, index: int) -> Command:
    word = words[position]
    where = f"command {index} (word {position}, {word:#010x})"
    try:
        opcode = Opcode(word & 0xFFFF)
    except ValueError as error:
        raise CommandStreamError(f"{where} is no command that Ethos-U55 and U65 know") from error
    parameter = word >> 16
    if parameter & ~opcode.parameter_bits:
        raise CommandStreamError(f"{where} sets bits that {opcode.title} does not define")
    if not opcode.has_payload:
        return Command(index, opcode, parameter, 0)
    if position + 1 == len(words):
        raise CommandStreamError(f"{where} is {opcode.title}, and its payload is cut off")
    return Command(index, opcode, parameter, words[position + 1])
