"""Weights: from the encoded stream to OHWI.

The stream's code is that of Arm's ``mlw_codec``; the order of the weights in it is the NPU's
order of work, which ethos-u-vela lays down in ``mlw_codec``'s ``reorder_encode``: blocks of
output channels, blocks of input channels, parts of the kernel of at most 8 by 8, and inside of
these micro-blocks, filled up with zeros.

* *depth first*: for each micro-block of output channels, each kernel element, each micro-block
  of the input block's 32 channels (16 for 16-bit inputs).
* *part kernel first*: for each micro-block of the input block's 16 channels, each micro-block of
  output channels, each kernel element; these are filled up to multiples of 4 (2 for 16 bits).
* *depthwise*: as depth first, with one input channel; kernel elements filled up to multiples of 4.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.npu.command_stream.accelerator import Accelerator
from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.registers import Kernel
from ingot.runtime.npu.foreign_process import EndedError, ForeignProcess, RaisedError

_PACKAGE = "ethosu"
if importlib.util.find_spec(_PACKAGE) is None:
    raise ModuleNotFoundError(f"No module named {_PACKAGE}", name=_PACKAGE)

_PART = 8
# One for all sessions. The codec ends its process on a damaged stream.
_codec = ForeignProcess(f"{__name__}:decoded")


def decoded(stream: bytes) -> npt.NDArray[np.int16]:
    """Decodes a stream by Arm's codec, here."""
    from ethosu import mlw_codec

    return np.array(mlw_codec.decode(bytearray(stream)), np.int16)


@dataclass(frozen=True)
class WeightOrder:
    """What fixes the order of a weight stream.

    Attributes:
        accelerator: Whose micro-blocks they are.
        shape: Output channels, height, width and input channels (1 for depthwise).
        block_depth: Output channels of a block.
        kernel: The kernel's dilation and traversal.
        depthwise: Whether each output channel has an input channel of its own.
        ifm_bits: Bits of an input element.
    """

    accelerator: Accelerator
    shape: tuple[int, int, int, int]
    block_depth: int
    kernel: Kernel
    depthwise: bool
    ifm_bits: int


@dataclass(frozen=True)
class _Chunk:
    """Consecutive weights of one part of a kernel, for one block of output and input channels.

    Attributes:
        outputs: Output channels.
        rows: Rows of the kernel.
        columns: Columns of the kernel.
        inputs: Input channels.
        elements: Kernel elements in the stream, filled up.
        outer: Micro-blocks of input channels outside of the kernel elements.
        inner: Micro-blocks of input channels inside of them.
    """

    outputs: slice
    rows: slice
    columns: slice
    inputs: slice
    elements: int
    outer: int
    inner: int


def decode_weights(stream: bytes, order: WeightOrder) -> npt.NDArray[np.float64]:
    """Returns the weights of a stream, less their zero point.

    Args:
        stream: The encoded weights.
        order: How they are ordered.

    Returns:
        Output channels by height by width by input channels; in floating point, so that a matrix
        product of them is fast, and exact below 2**53.

    Raises:
        CommandError: The stream is damaged, or there are more or fewer weights than the operation
            reads.
    """
    try:
        values = _codec.call(stream).astype(np.float64)
    except (EndedError, RaisedError) as error:
        raise CommandError(f"its weight stream is damaged: the codec {error}") from error
    weights = np.zeros(order.shape)
    position = 0
    for chunk in _chunks(order):
        position = _place(values, position, chunk, order, weights)
    if position != values.size:
        raise CommandError(f"its weight stream has {values.size} weights, it reads {position}")
    return weights


def _place(
    values: npt.NDArray[np.float64],
    position: int,
    chunk: _Chunk,
    order: WeightOrder,
    weights: npt.NDArray[np.float64],
) -> int:
    """Puts one chunk in its place; returns where the next one starts."""
    micro = order.accelerator.ofm_micro_depth
    deep = 1 if order.depthwise else order.accelerator.ifm_micro_depth
    wide = -(-(chunk.outputs.stop - chunk.outputs.start) // micro)
    shape = (chunk.outer, wide, chunk.elements, chunk.inner, micro, deep)
    end = position + int(np.prod(shape))
    if end > values.size:
        raise CommandError(f"its weight stream has {values.size} weights, it reads {end} and more")
    # To output channel, kernel element, input channel.
    ordered = values[position:end].reshape(shape).transpose(1, 4, 2, 0, 3, 5)
    flat = ordered.reshape(wide * micro, chunk.elements, -1)
    target = weights[chunk.outputs, chunk.rows, chunk.columns, chunk.inputs]
    outputs, rows, columns, inputs = target.shape
    target[...] = flat[:outputs, : rows * columns, :inputs].reshape(target.shape)
    return end


def _chunks(order: WeightOrder) -> Iterator[_Chunk]:
    """The chunks of a stream, in its order."""
    outputs, height, width, inputs = order.shape
    part_kernel = order.kernel.part_kernel_first
    ifm_block = 16 if part_kernel or order.ifm_bits == 16 else 32
    micro = order.accelerator.ifm_micro_depth
    for output in _blocks(outputs, order.block_depth):
        for first in _blocks(inputs, ifm_block):
            deep = first.stop - first.start if part_kernel else ifm_block
            count = 1 if order.depthwise else -(-deep // micro)
            for rows in _blocks(height, _PART // order.kernel.dilation[0]):
                for columns in _blocks(width, _PART // order.kernel.dilation[1]):
                    area = (rows.stop - rows.start) * (columns.stop - columns.start)
                    yield _Chunk(
                        outputs=output,
                        rows=rows,
                        columns=columns,
                        inputs=first,
                        elements=_filled(area, order),
                        outer=count if part_kernel else 1,
                        inner=1 if part_kernel else count,
                    )


def _filled(elements: int, order: WeightOrder) -> int:
    """How many kernel elements the stream holds for these."""
    if order.depthwise:
        multiple = 4
    elif order.kernel.part_kernel_first:
        multiple = 2 if order.ifm_bits == 16 else 4
    else:
        multiple = 1
    return -(-elements // multiple) * multiple


def _blocks(size: int, step: int) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def cache_key(stream: npt.NDArray[Any], order: WeightOrder) -> tuple[bytes, WeightOrder]:
    """What equal weights have in common: the stream's bytes and its order."""
    return stream.tobytes(), order
