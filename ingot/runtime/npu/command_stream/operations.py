"""The operations of a command stream: from registers and memory to memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream import convolution, elementwise, pooling, scaling
from ingot.runtime.npu.command_stream.accelerator import LUT_BYTES, Accelerator
from ingot.runtime.npu.command_stream.decode import Command, CommandError, Opcode
from ingot.runtime.npu.command_stream.elementwise import ElementWise
from ingot.runtime.npu.command_stream.memory import Memory
from ingot.runtime.npu.command_stream.pooling import Pooling
from ingot.runtime.npu.command_stream.registers import (
    OperandScaling,
    Registers,
    Rounding,
    Span,
)
from ingot.runtime.npu.command_stream.weights import WeightOrder, decode_weights
from ingot.runtime.npu.command_stream.window import read_upscaled, read_window

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_INTERNAL = 1 << 8
_STRIDED = 3 << 9


@dataclass
class Machine:
    """The NPU's state between commands.

    Attributes:
        accelerator: Which NPU it is.
        memory: What lies behind the base pointers.
        registers: What commands have set.
        buffer: The shared buffer; its last bytes hold lookup tables.
        tables: Which bytes of the tables have been loaded.
        weights: Decoded weights of streams that came before; may be shared between machines.
    """

    accelerator: Accelerator
    memory: Memory
    registers: Registers = field(default_factory=Registers)
    tables: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros(LUT_BYTES, np.uint8))
    loaded: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(LUT_BYTES, np.bool_))
    weights: dict[tuple[bytes, WeightOrder], Floats] = field(default_factory=dict)

    def execute(self, command: Command) -> None:
        """Executes one command.

        Commands that order work (waits, block dependencies) and divide the shared buffer have no
        effect here, for work is done in the order of the commands, one after the other.

        Raises:
            CommandError: It cannot be executed; says why.
        """
        opcode = command.opcode
        if opcode.name.startswith("SET_"):
            if opcode is Opcode.SET_PARALLEL_MODE and command.parameter:
                raise CommandError("it asks for two cores, which are not simulated")
            self.registers.set(command)
        elif opcode is Opcode.OP_CONV:
            self._convolve(depthwise=False)
        elif opcode is Opcode.OP_DEPTHWISE:
            self._convolve(depthwise=True)
        elif opcode is Opcode.OP_POOL:
            self._pool(_kind(Pooling, command))
        elif opcode is Opcode.OP_ELEMENTWISE:
            self._elementwise(_kind(ElementWise, command))
        elif opcode is Opcode.OP_DMA_START:
            self._copy()

    def _convolve(self, depthwise: bool) -> None:
        registers = self.registers
        window = read_window(registers, self.memory)
        depth, inputs = registers.ofm_shape()[2], window.values.shape[2]
        if depthwise and depth != inputs:
            raise CommandError(f"a depthwise convolution of {inputs} channels gives {depth}")
        order = WeightOrder(
            accelerator=self.accelerator,
            shape=(depth, window.kernel.height, window.kernel.width, 1 if depthwise else inputs),
            block_depth=registers.size(Opcode.SET_OFM_BLK_DEPTH_M1),
            kernel=window.kernel,
            depthwise=depthwise,
            ifm_bits=8 * window.values.itemsize,
        )
        weights = self._weights(registers.weights(), order)
        sums = (convolution.convolve_depthwise if depthwise else convolution.convolve)(
            window, weights
        )
        if registers.uses_global_scale():
            raise CommandError("a convolution with one scale for all channels is not simulated")
        self._write(self._scaled_by_channel(sums))

    def _weights(self, span: Span, order: WeightOrder) -> Floats:
        stream = self.memory.span(span, "the weights").tobytes()
        key = (stream, order)
        if key not in self.weights:
            self.weights[key] = decode_weights(stream, order)
        return self.weights[key]

    def _pool(self, kind: Pooling) -> None:
        registers = self.registers
        window = read_window(registers, self.memory)
        depth = 1 if kind is Pooling.REDUCE_SUM else window.values.shape[2]
        if registers.ofm_shape()[2] != depth:
            raise CommandError(f"its result has depth {registers.ofm_shape()[2]}, not {depth}")
        if kind is Pooling.MAX:
            sums = pooling.pool_max(window)
        elif kind is Pooling.REDUCE_SUM:
            sums = pooling.reduce_sum(window)
        else:
            sums = pooling.pool_sum(window)
        scaling.check_accumulators(sums, registers.accumulator())
        if kind is Pooling.AVERAGE and window.padding:
            self._write(pooling.pool_average_padded(window))
        elif registers.uses_global_scale():
            used = registers.scale(Opcode.SET_OFM_SCALE)
            self._write(scaling.scale(sums, used.multiplier, used.shift, registers.rounding()))
        else:
            self._write(self._scaled_by_channel(sums))

    def _scaled_by_channel(self, sums: Integers) -> Integers:
        """Adds the channels' biases and scales by their own multipliers and shifts."""
        registers = self.registers
        records = self.memory.span(registers.scales(), "the scales")
        biases, multipliers, shifts = scaling.scale_records(records, sums.shape[2])
        sums = sums + biases
        scaling.check_accumulators(sums, registers.accumulator())
        return scaling.scale(sums, multipliers, shifts, registers.rounding())

    def _elementwise(self, operation: ElementWise) -> None:
        registers = self.registers
        shape = registers.ofm_shape()
        ifm = registers.feature_map("IFM")
        first = read_upscaled(self.memory, ifm, registers.upscale(), shape).astype(np.int64)
        first -= ifm.zero_point
        rounding = registers.rounding()
        if operation.is_unary:
            values = self._unary(operation, first, rounding)
        else:
            second = self._second(shape)
            if registers.ifm2_first():
                first, second = second, first
            values = self._binary(operation, first, second, rounding)
        if operation.is_scaled:
            used = registers.scale(Opcode.SET_OFM_SCALE)
            values = scaling.scale(values, used.multiplier, used.shift, rounding)
        self._write(np.broadcast_to(values, shape))

    def _unary(self, operation: ElementWise, values: Integers, rounding: Rounding) -> Integers:
        if operation is ElementWise.ABS:
            return elementwise.absolute(values)
        if operation is ElementWise.CLZ:
            return elementwise.leading_zeros(values)
        return elementwise.leaky(values, self.registers.scale(Opcode.SET_OFM_SCALE), rounding)

    def _binary(
        self, operation: ElementWise, first: Integers, second: Integers, rounding: Rounding
    ) -> Integers:
        registers = self.registers
        if operation in (ElementWise.SHL, ElementWise.SHR):
            return elementwise.shift(operation, first, second, rounding)
        if operation in (ElementWise.ADD, ElementWise.SUB):
            if registers.ifm_precision()[0] is not OperandScaling.BOTH:
                raise CommandError(
                    "an addition that scales one operand by 32 bits is not simulated"
                )
            scales = registers.scale(Opcode.SET_OPA_SCALE), registers.scale(Opcode.SET_OPB_SCALE)
            first, second = first * scales[0].multiplier, second * scales[1].multiplier
        return elementwise.combine(operation, first, second)

    def _second(self, shape: tuple[int, int, int]) -> Integers:
        """The second operand, less its zero point; one element along axes that it repeats on."""
        scalar = self.registers.ifm2_scalar()
        if scalar is not None:
            return np.full((1, 1, 1), scalar, np.int64)
        height, width, depth = (
            1 if repeated else size
            for repeated, size in zip(self.registers.ifm2_broadcast(), shape, strict=True)
        )
        ifm2 = self.registers.feature_map("IFM2")
        return self.memory.read(ifm2, (height, width, depth)).astype(np.int64) - ifm2.zero_point

    def _write(self, values: Integers) -> None:
        """Activates and writes scaled results."""
        activation = self.registers.activation()
        ofm = self.registers.feature_map("OFM")
        table = None
        if activation.table is not None:
            table = self._table(activation.table, ofm.dtype)
        elif not self.accelerator.reserves_tables:
            self.loaded[:] = False
        self.memory.write(ofm, scaling.activate(values, ofm, activation, table))

    def _table(self, index: int, dtype: np.dtype[Any]) -> npt.NDArray[np.uint8]:
        span = slice(256 * index, 256 * index + scaling.TABLE_BYTES[dtype.itemsize])
        if span.stop > LUT_BYTES or not self.loaded[span].all():
            raise CommandError(f"its lookup table {index} has not been loaded")
        return self.tables[span]

    def _copy(self) -> None:
        registers = self.registers
        source = registers.value(Opcode.SET_DMA0_SRC_REGION)
        target = registers.value(Opcode.SET_DMA0_DST_REGION)
        if (source | target) & _STRIDED or source & _INTERNAL:
            raise CommandError("a copy with strides, or from the shared buffer, is not simulated")
        length = registers.address(Opcode.SET_DMA0_LEN)
        data = self.memory.span(
            Span(source & 7, registers.address(Opcode.SET_DMA0_SRC), length), "the copy's source"
        ).copy()
        address = registers.address(Opcode.SET_DMA0_DST)
        if target & _INTERNAL:
            self._load_table(address, data)
            return
        self.memory.check_writable(target & 7, "the copy's destination")
        self.memory.span(Span(target & 7, address, length), "the copy's destination")[:] = data

    def _load_table(self, address: int, data: npt.NDArray[np.uint8]) -> None:
        start = address - (self.accelerator.buffer_bytes - LUT_BYTES)
        if start < 0 or start + data.size > LUT_BYTES:
            raise CommandError(
                f"a copy to bytes {address} to {address + data.size} of the shared buffer is not "
                "within the lookup tables"
            )
        self.tables[start : start + data.size] = data
        self.loaded[start : start + data.size] = True


def _kind(kinds: Any, command: Command) -> Any:
    try:
        return kinds(command.parameter)
    except ValueError as error:
        raise CommandError(f"there is no such operation as {command.parameter}") from error
