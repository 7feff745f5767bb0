"""The registers that commands set, and what operations read from them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ingot.runtime.npu.command_stream.decode import Command, CommandError, Opcode

_E = TypeVar("_E", bound=enum.IntEnum)


class Layout(enum.IntEnum):
    """How a feature map lies in memory."""

    NHWC = 0
    NHCWB16 = 1  # bricks of 16 channels: height, channel brick, width, 16 channels


class Rounding(enum.IntEnum):
    """How a scaled value becomes an integer."""

    DOUBLE = 0
    TRUNCATE = 1
    NATURAL = 2


class Upscale(enum.IntEnum):
    """What the NPU makes of each input element before the kernel, in height and width."""

    NONE = 0
    NEAREST = 1
    ZEROS = 2


class OperandScaling(enum.IntEnum):
    """Which operands of an addition are scaled, and how."""

    BOTH = 0
    FIRST = 1
    SECOND = 2


class Accumulator(enum.IntEnum):
    """The accumulators' format."""

    INT32 = 0
    INT40 = 1
    FLOAT16 = 2


class Clip(enum.IntEnum):
    """Which range the activation clips to before its own limits."""

    OFM_PRECISION = 0
    FORCE_UINT8 = 2
    FORCE_INT8 = 3
    FORCE_INT16 = 5


@dataclass(frozen=True)
class Scale:
    """A multiplier and the right shift after it."""

    multiplier: int
    shift: int


@dataclass(frozen=True)
class FeatureMap:
    """A feature map in memory: up to four tiles, that meet at (height, width0).

    Attributes:
        name: ``IFM``, ``IFM2`` or ``OFM``.
        region: Index of the base pointer.
        bases: Addresses of the tiles: upper left, upper right, lower left, lower right.
        height0: Rows of the upper left tile.
        height1: Rows of the upper right tile.
        width0: Columns of the left tiles.
        strides: Bytes from a row, a column and (NHCWB16 alone) a brick of channels to the next.
        dtype: The elements' type.
        layout: How the elements lie.
        zero_point: The value that stands for 0.
    """

    name: str
    region: int
    bases: tuple[int, int, int, int]
    height0: int
    height1: int
    width0: int
    strides: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    layout: Layout
    zero_point: int


@dataclass(frozen=True)
class Kernel:
    """A kernel; ``height`` and ``width`` count its elements, not the gaps of dilation."""

    height: int
    width: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    part_kernel_first: bool

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns of input from its first to its last element."""
        return (
            (self.height - 1) * self.dilation[0] + 1,
            (self.width - 1) * self.dilation[1] + 1,
        )


@dataclass(frozen=True)
class Padding:
    """Rows and columns around the input that hold its zero point."""

    top: int
    bottom: int
    left: int
    right: int

    def __bool__(self) -> bool:
        return bool(self.top or self.bottom or self.left or self.right)


@dataclass(frozen=True)
class Activation:
    """What happens to a result before it is written.

    Attributes:
        table: The lookup table, or None.
        clip: The range to clip to.
        low: The lowest value, as the register's 16 bits.
        high: The highest value, likewise.
    """

    table: int | None
    clip: Clip
    low: int
    high: int


@dataclass(frozen=True)
class Span:
    """Bytes of a region."""

    region: int
    address: int
    length: int


@dataclass
class Registers:
    """The register file; it is an error to read one that no command has set."""

    commands: dict[Opcode, Command] = field(default_factory=dict)

    def set(self, command: Command) -> None:
        """Sets the register that the command names."""
        self.commands[command.opcode] = command

    def value(self, opcode: Opcode) -> int:
        """The unsigned parameter of a register without payload, the payload of one with it."""
        command = self._command(opcode)
        return command.payload if opcode.has_payload else command.parameter

    def address(self, opcode: Opcode) -> int:
        """A register of 40 bits, unsigned."""
        command = self._command(opcode)
        return command.payload | command.parameter << 32

    def stride(self, opcode: Opcode) -> int:
        """A register of 40 bits in two's complement; reversed maps have negative strides."""
        value = self.address(opcode)
        return value - (1 << 40) if value >> 39 else value

    def scale(self, opcode: Opcode) -> Scale:
        """A scale register: multiplier in the payload, shift in the parameter."""
        command = self._command(opcode)
        return Scale(command.payload, command.parameter)

    def size(self, opcode: Opcode) -> int:
        """A register that holds a size less one."""
        return self.value(opcode) + 1

    def ifm_precision(self) -> tuple[OperandScaling, Rounding]:
        """How the operands of an addition are scaled, and the rounding when one is."""
        value = self.value(Opcode.SET_IFM_PRECISION)
        return _field(OperandScaling, value >> 8 & 3), _field(Rounding, value >> 14)

    def upscale(self) -> Upscale:
        """How the input is upscaled."""
        return _field(Upscale, self.value(Opcode.SET_IFM_UPSCALE))

    def accumulator(self) -> Accumulator:
        """The accumulators' format."""
        return _field(Accumulator, self.value(Opcode.SET_ACC_FORMAT))

    def uses_global_scale(self) -> bool:
        """Whether ``OFM_SCALE`` scales the result, not each channel's own record."""
        return bool(self.value(Opcode.SET_OFM_PRECISION) >> 8 & 1)

    def rounding(self) -> Rounding:
        """How the scaled result is rounded."""
        return _field(Rounding, self.value(Opcode.SET_OFM_PRECISION) >> 14)

    def ofm_shape(self) -> tuple[int, int, int]:
        """Height, width and depth of the result."""
        return (
            self.size(Opcode.SET_OFM_HEIGHT_M1),
            self.size(Opcode.SET_OFM_WIDTH_M1),
            self.size(Opcode.SET_OFM_DEPTH_M1),
        )

    def feature_map(self, name: str) -> FeatureMap:
        """The feature map ``IFM``, ``IFM2`` or ``OFM``."""

        def register(suffix: str) -> Opcode:
            return Opcode[f"SET_{name}_{suffix}"]

        precision = self.value(register("PRECISION"))
        width_bit = 1 if name == "OFM" else 2
        dtype = _dtype(name, bool(precision & 1), precision >> width_bit & 3)
        base0, base1, base2, base3 = (self.address(register(f"BASE{tile}")) for tile in range(4))
        return FeatureMap(
            name=name,
            region=self.value(register("REGION")),
            bases=(base0, base1, base2, base3),
            height0=self.size(register("HEIGHT0_M1")),
            height1=self.size(register("HEIGHT1_M1")),
            width0=self.size(register("WIDTH0_M1")),
            strides=(
                self.stride(register("STRIDE_Y")),
                self.stride(register("STRIDE_X")),
                self.stride(register("STRIDE_C")),
            ),
            dtype=dtype,
            layout=_field(Layout, precision >> 6 & 3),
            zero_point=_signed(self.value(register("ZERO_POINT")), dtype),
        )

    def ifm2_scalar(self) -> int | None:
        """The constant second operand, less its zero point; None where it is a feature map."""
        if not self.value(Opcode.SET_IFM2_BROADCAST) >> 7 & 1:
            return None
        precision = self.value(Opcode.SET_IFM2_PRECISION)
        dtype = _dtype("IFM2", bool(precision & 1), precision >> 2 & 3)
        scalar, zero_point = (
            _signed(self.value(opcode), dtype)
            for opcode in (Opcode.SET_IFM2_SCALAR, Opcode.SET_IFM2_ZERO_POINT)
        )
        return scalar - zero_point

    def ifm2_broadcast(self) -> tuple[bool, bool, bool]:
        """Whether the second operand has one element along height, width and depth."""
        value = self.value(Opcode.SET_IFM2_BROADCAST)
        return bool(value & 1), bool(value & 2), bool(value & 4)

    def ifm2_first(self) -> bool:
        """Whether IFM2 is the first operand, IFM the second."""
        return bool(self.value(Opcode.SET_IFM2_BROADCAST) >> 6 & 1)

    def kernel(self) -> Kernel:
        """The kernel."""
        value = self.value(Opcode.SET_KERNEL_STRIDE)
        if value >> 5 & 1:
            raise CommandError(
                "NPU_SET_KERNEL_STRIDE asks for kernels in parts of 4x4, not simulated"
            )
        dilation = (1 + (value >> 4 & 1), 1 + (value >> 3 & 1))
        heights = self.value(Opcode.SET_KERNEL_HEIGHT_M1), self.value(Opcode.SET_KERNEL_WIDTH_M1)
        return Kernel(
            height=heights[0] // dilation[0] + 1,
            width=heights[1] // dilation[1] + 1,
            stride=(
                1 + (value >> 1 & 1) + 2 * (value >> 9 & 1),
                1 + (value & 1) + 2 * (value >> 6 & 1),
            ),
            dilation=dilation,
            part_kernel_first=bool(value >> 2 & 1),
        )

    def padding(self) -> Padding:
        """The padding."""
        return Padding(
            top=self.value(Opcode.SET_IFM_PAD_TOP),
            bottom=self.value(Opcode.SET_IFM_PAD_BOTTOM),
            left=self.value(Opcode.SET_IFM_PAD_LEFT),
            right=self.value(Opcode.SET_IFM_PAD_RIGHT),
        )

    def activation(self) -> Activation:
        """The activation."""
        value = self.value(Opcode.SET_ACTIVATION)
        function = value & 0x1F
        if function and not 16 <= function < 24:
            raise CommandError(
                f"NPU_SET_ACTIVATION asks for function {function}, which is not simulated"
            )
        return Activation(
            table=function - 16 if function else None,
            clip=_field(Clip, value >> 12),
            low=self.value(Opcode.SET_ACTIVATION_MIN),
            high=self.value(Opcode.SET_ACTIVATION_MAX),
        )

    def weights(self) -> Span:
        """The encoded weights."""
        return self._span("WEIGHT")

    def scales(self) -> Span:
        """The scale and bias records."""
        return self._span("SCALE")

    def _span(self, name: str) -> Span:
        return Span(
            self.value(Opcode[f"SET_{name}_REGION"]),
            self.address(Opcode[f"SET_{name}_BASE"]),
            self.value(Opcode[f"SET_{name}_LENGTH"]),
        )

    def _command(self, opcode: Opcode) -> Command:
        command = self.commands.get(opcode)
        if command is None:
            raise CommandError(f"it depends on {opcode.title}, which no command before it gives")
        return command


def _field(kind: type[_E], value: int) -> _E:
    try:
        return kind(value)
    except ValueError as error:
        raise CommandError(f"{value} is no {kind.__name__.lower()} that the NPU knows") from error


def _dtype(name: str, signed: bool, width: int) -> np.dtype[np.generic]:
    if width > 2:
        raise CommandError(f"{name} has elements of 64 bits, which are not simulated")
    return np.dtype(f"<{'i' if signed else 'u'}{1 << width}")


def _signed(value: int, dtype: np.dtype[np.generic]) -> int:
    """A register's 16 bits as a number of the feature map's signedness."""
    return value - (1 << 16) if dtype.kind == "i" and value >> 15 else value
