"""The operations of a command stream: from registers and memory to memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream import convolution, elementwise, pooling, scaling
from ingot.runtime.npu.command_stream.accelerator import OPERATIONS, Accelerator
from ingot.runtime.npu.command_stream.decode import Command, CommandError, Opcode
from ingot.runtime.npu.command_stream.elementwise import ElementWise
from ingot.runtime.npu.command_stream.hazards import UnderWay, Work
from ingot.runtime.npu.command_stream.memory import Memory
from ingot.runtime.npu.command_stream.pooling import Pooling
from ingot.runtime.npu.command_stream.registers import OperandScaling, Registers, Rounding, Span
from ingot.runtime.npu.command_stream.tables import LookupTables
from ingot.runtime.npu.command_stream.weights import WeightOrder, decode_weights
from ingot.runtime.npu.command_stream.window import read_upscaled, read_window

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_INTERNAL = 1 << 8
_STRIDED = 3 << 9
_OPERATIONS = frozenset(
    {Opcode.OP_CONV, Opcode.OP_DEPTHWISE, Opcode.OP_POOL, Opcode.OP_ELEMENTWISE}
)


class Machine:
    """The NPU's state between commands."""

    def __init__(
        self,
        accelerator: Accelerator,
        memory: Memory,
        weights: dict[tuple[bytes, WeightOrder], Floats] | None = None,
    ) -> None:
        """Starts with no register set.

        Args:
            accelerator: Which NPU it is.
            memory: What lies behind the base pointers.
            weights: Decoded weights of streams, which it adds to; may be shared between machines.
        """
        self._accelerator = accelerator
        self._memory = memory
        self._weights = {} if weights is None else weights
        self._registers = Registers()
        self._tables = LookupTables(accelerator)
        self._under_way = UnderWay({Work.OPERATION: OPERATIONS, Work.COPY: accelerator.copies})

    def execute(self, command: Command) -> None:
        """Executes one command.

        Work is done in the order of the commands, one after the other. That a stream waits where
        it has to is checked; what divides work into blocks and the shared buffer, interrupts and
        performance counters change nothing that is computed.

        Raises:
            CommandError: It cannot be executed; says why.
        """
        opcode = command.opcode
        if opcode is Opcode.SET_PARALLEL_MODE and command.parameter:
            raise CommandError("it asks for two cores, which are not simulated")
        if opcode.name.startswith("SET_"):
            self._registers.set(command)
        elif opcode is Opcode.OP_KERNEL_WAIT:
            self._under_way.wait(Work.OPERATION, command.parameter)
        elif opcode is Opcode.OP_DMA_WAIT:
            self._under_way.wait(Work.COPY, command.parameter)
        elif opcode is Opcode.OP_DMA_START:
            self._copy()
            self._started(Work.COPY)
        elif opcode in _OPERATIONS:
            self._operate(command)
            self._started(Work.OPERATION)

    def _started(self, kind: Work) -> None:
        """Checks what the work just done has touched against what may be under way."""
        self._under_way.start(kind, tuple(self._memory.accesses))
        self._memory.accesses.clear()

    def _operate(self, command: Command) -> None:
        if command.opcode is Opcode.OP_POOL:
            self._pool(_kind(Pooling, command))
        elif command.opcode is Opcode.OP_ELEMENTWISE:
            self._elementwise(_kind(ElementWise, command))
        else:
            self._convolve(depthwise=command.opcode is Opcode.OP_DEPTHWISE)

    def _convolve(self, depthwise: bool) -> None:
        registers = self._registers
        window = read_window(registers, self._memory)
        depth, inputs = registers.ofm_shape()[2], window.values.shape[2]
        if depthwise and depth != inputs:
            raise CommandError(f"a depthwise convolution of {inputs} channels gives {depth}")
        order = WeightOrder(
            accelerator=self._accelerator,
            shape=(depth, window.kernel.height, window.kernel.width, 1 if depthwise else inputs),
            block_depth=registers.size(Opcode.SET_OFM_BLK_DEPTH_M1),
            kernel=window.kernel,
            depthwise=depthwise,
            ifm_bits=8 * window.values.itemsize,
        )
        weights = self._decoded(registers.weights(), order)
        sums = (convolution.convolve_depthwise if depthwise else convolution.convolve)(
            window, weights
        )
        if registers.uses_global_scale():
            raise CommandError("a convolution with one scale for all channels is not simulated")
        self._write(self._scaled_by_channel(sums))

    def _decoded(self, span: Span, order: WeightOrder) -> Floats:
        stream = self._memory.span(span, "the weights").tobytes()
        key = (stream, order)
        if key not in self._weights:
            self._weights[key] = decode_weights(stream, order)
        return self._weights[key]

    def _pool(self, kind: Pooling) -> None:
        registers = self._registers
        window = read_window(registers, self._memory)
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
        registers = self._registers
        records = self._memory.span(registers.scales(), "the scales")
        biases, multipliers, shifts = scaling.scale_records(records, sums.shape[2])
        sums = sums + biases
        scaling.check_accumulators(sums, registers.accumulator())
        return scaling.scale(sums, multipliers, shifts, registers.rounding())

    def _elementwise(self, operation: ElementWise) -> None:
        registers = self._registers
        shape = registers.ofm_shape()
        ifm = registers.feature_map("IFM")
        first = read_upscaled(self._memory, ifm, registers.upscale(), shape).astype(np.int64)
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
        return elementwise.leaky(values, self._registers.scale(Opcode.SET_OFM_SCALE), rounding)

    def _binary(
        self, operation: ElementWise, first: Integers, second: Integers, rounding: Rounding
    ) -> Integers:
        if operation in (ElementWise.SHL, ElementWise.SHR):
            return elementwise.shift(operation, first, second, rounding)
        if operation in (ElementWise.ADD, ElementWise.SUB):
            first, second = self._operands(first, second)
        return elementwise.combine(operation, first, second)

    def _operands(self, first: Integers, second: Integers) -> tuple[Integers, Integers]:
        """Scales the operands of a sum: both by 16 bits, or one by 32."""
        registers = self._registers
        scaled, rounding = registers.ifm_precision()
        scales = registers.scale(Opcode.SET_OPA_SCALE), registers.scale(Opcode.SET_OPB_SCALE)
        if scaled is not OperandScaling.BOTH:
            itemsize = registers.feature_map("IFM").dtype.itemsize
            return elementwise.scale_one(first, second, scaled, scales[0], rounding, itemsize)
        if any(used.shift or used.multiplier >> 16 for used in scales):
            raise CommandError("it scales its operands by more than a factor of 16 bits")
        return first * scales[0].multiplier, second * scales[1].multiplier

    def _second(self, shape: tuple[int, int, int]) -> Integers:
        """The second operand, less its zero point; one element along axes that it repeats on."""
        scalar = self._registers.ifm2_scalar()
        if scalar is not None:
            return np.full((1, 1, 1), scalar, np.int64)
        height, width, depth = (
            1 if repeated else size
            for repeated, size in zip(self._registers.ifm2_broadcast(), shape, strict=True)
        )
        ifm2 = self._registers.feature_map("IFM2")
        return self._memory.read(ifm2, (height, width, depth)).astype(np.int64) - ifm2.zero_point

    def _write(self, values: Integers) -> None:
        """Activates and writes scaled results."""
        activation = self._registers.activation()
        ofm = self._registers.feature_map("OFM")
        table = None
        if activation.table is None:
            self._memory.accesses.extend(self._tables.overwrite())
        else:
            table, access = self._tables.read(activation.table, ofm.dtype)
            self._memory.accesses.append(access)
        self._memory.write(ofm, scaling.activate(values, ofm, activation, table))

    def _copy(self) -> None:
        registers = self._registers
        source = registers.value(Opcode.SET_DMA0_SRC_REGION)
        target = registers.value(Opcode.SET_DMA0_DST_REGION)
        if (source | target) & _STRIDED or source & _INTERNAL:
            raise CommandError("a copy with strides, or from the shared buffer, is not simulated")
        length = registers.address(Opcode.SET_DMA0_LEN)
        origin = Span(source & 7, registers.address(Opcode.SET_DMA0_SRC), length)
        data = self._memory.span(origin, "the copy's source").copy()
        address = registers.address(Opcode.SET_DMA0_DST)
        if target & _INTERNAL:
            self._memory.accesses.append(self._tables.load(address, data))
            return
        destination = Span(target & 7, address, length)
        self._memory.span(destination, "the copy's destination", writes=True)[:] = data


def _kind(kinds: Any, command: Command) -> Any:
    try:
        return kinds(command.parameter)
    except ValueError as error:
        raise CommandError(f"there is no such operation as {command.parameter}") from error
