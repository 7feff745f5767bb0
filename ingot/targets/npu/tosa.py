"""Building TOSA 1.0 graphs, by Arm's serializer.

The operators are those of "TOSA 1.0.0 Specification" (mlplatform.org); each method checks nothing
that the reference model and Vela check themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tosa_serializer as ts

from ingot.targets.npu.scaling import multiplier_and_shift

Array = npt.NDArray[Any]

# NumPy holds 48-bit integers in 64.
_DTYPES = {
    "int8": ts.DType.INT8,
    "int16": ts.DType.INT16,
    "int32": ts.DType.INT32,
    "int48": ts.DType.INT48,
    "shape": ts.DType.SHAPE,
}
_NUMPY = {"int48": "int64", "shape": "int64"}
# Attributes are padded to whole words in the flatbuffer.
_WORD = 8


@dataclasses.dataclass(frozen=True)
class TosaTensor:
    """A tensor of the graph.

    Attributes:
        name: Unique in the graph.
        shape: Its dimensions; NHWC for images.
        dtype: ``int8``, ``int16``, ``int32`` or ``int48``.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


class TosaGraph:
    """A graph in the making.

    Attributes:
        ends_in_elementwise: Whether the NPU makes an element-wise operator the end of what computes
            its first operand.
    """

    def __init__(self, *, ends_in_elementwise: bool = False) -> None:
        """Starts an empty graph."""
        self.ends_in_elementwise = ends_in_elementwise
        # Vela's baseline is 1.0; the serializer's own default is a draft of 1.1.
        self._serializer = ts.TosaSerializer(
            "", targetMajor=1, targetMinor=0, targetPatch=0, targetDraft=False
        )
        self._constants: dict[tuple[str, tuple[int, ...], str], TosaTensor] = {}
        self._counts: Counter[str] = Counter()
        self._layer = "layer"
        self.inputs: list[TosaTensor] = []
        self.outputs: list[TosaTensor] = []

    def input(self, name: str, shape: Sequence[int], dtype: str) -> TosaTensor:
        """Adds an input; its name is none that another has, and without a colon."""
        tensor = TosaTensor(name, tuple(shape), dtype)
        self._serializer.addInputTensor(
            ts.TosaSerializerTensor(tensor.name, list(shape), _DTYPES[dtype])
        )
        self.inputs.append(tensor)
        return tensor

    def output(self, tensor: TosaTensor) -> None:
        """Makes a tensor an output; by IDENTITY, where it is an input or an output already."""
        if tensor in self.inputs or tensor in self.outputs:
            tensor = self._add(ts.Op.IDENTITY, "Identity", [tensor], tensor.shape, tensor.dtype)
        block = self._serializer.currRegion.currBasicBlock
        block.addOutput(tensor.name)
        self.outputs.append(tensor)

    def begin_layer(self, name: str) -> None:
        """Names what is added from here on ``NAME:1`` and so on; Vela's estimates say so too."""
        self._layer = name

    def constant(self, array: Array, dtype: str) -> TosaTensor:
        """Returns a constant; equal ones are one."""
        array = np.ascontiguousarray(array, dtype=_NUMPY.get(dtype, dtype))
        key = (dtype, array.shape, hashlib.sha256(array.tobytes()).hexdigest())
        if key not in self._constants:
            name = self._fresh(f"{dtype}_constant")
            self._serializer.addConst(list(array.shape), _DTYPES[dtype], array, name)
            self._constants[key] = TosaTensor(name, array.shape, dtype)
        return self._constants[key]

    def serialize(self) -> bytes:
        """Returns the flatbuffer."""
        data: bytes = self._serializer.serialize()
        return data

    def conv2d(
        self,
        x: TosaTensor,
        weights: Array,
        bias: Array,
        zero_point: int,
        *,
        strides: Sequence[int],
        pads: Sequence[int],
        dilations: Sequence[int],
        depthwise: bool = False,
    ) -> TosaTensor:
        """Adds CONV2D or DEPTHWISE_CONV2D; the result is the accumulator.

        Args:
            x: [N, H, W, C] of int8 or int16.
            weights: int8 [O, KH, KW, C], or for a depthwise one [KH, KW, C, M].
            bias: [O], in the accumulator's unit.
            zero_point: Zero point of ``x``; weights have none.
            strides: Down and across.
            pads: Top, bottom, left, right.
            dilations: Down and across.
            depthwise: Whether each channel is convolved by itself.
        """
        wide = "int48" if x.dtype == "int16" else "int32"
        kernel = weights.shape[:2] if depthwise else weights.shape[1:3]
        channels = weights.shape[2] * weights.shape[3] if depthwise else weights.shape[0]
        size = [
            (x.shape[1 + i] - 1 + pads[2 * i] + pads[2 * i + 1] - (kernel[i] - 1) * dilations[i])
            // strides[i]
            + 1
            for i in (0, 1)
        ]
        operands = [
            x,
            self.constant(weights, "int8"),
            self.constant(bias, wide),
            self.constant(np.array([zero_point]), x.dtype),
            self.constant(np.array([0]), "int8"),
        ]
        name = "DepthwiseConv2d" if depthwise else "Conv2d"
        op = ts.Op.DEPTHWISE_CONV2D if depthwise else ts.Op.CONV2D
        arguments = (list(pads), list(strides), list(dilations), False, _DTYPES[wide])
        return self._add(op, name, operands, (x.shape[0], *size, channels), wide, *arguments)

    def rescale(
        self,
        x: TosaTensor,
        factors: float | Sequence[float] | Array,
        zero_in: int,
        zero_out: int,
        dtype: str,
    ) -> TosaTensor:
        """Adds RESCALE: ``(x - zero_in) * factor + zero_out``, rounded once and saturated.

        Args:
            x: Any shape.
            factors: One, or one for each index of the last axis.
            zero_in: Zero point of ``x``; 0 unless it is of 8 bits.
            zero_out: Zero point of the result; 0 unless that is of 8 bits.
            dtype: Of the result.
        """
        bits = 16 if x.dtype == "int48" else 32
        per_channel = np.ndim(factors) > 0
        pairs = [multiplier_and_shift(float(f), bits) for f in np.atleast_1d(factors)]
        operands = [
            x,
            self.constant(np.array([m for m, _ in pairs]), f"int{bits}"),
            self.constant(np.array([s for _, s in pairs]), "int8"),
            self.constant(np.array([zero_in]), x.dtype),
            self.constant(np.array([zero_out]), dtype),
        ]
        rounding = ts.RoundingMode.SINGLE_ROUND
        arguments = (bits == 32, rounding, per_channel, False, False)
        return self._add(ts.Op.RESCALE, "Rescale", operands, x.shape, dtype, *arguments)

    def clamp(self, x: TosaTensor, low: int, high: int) -> TosaTensor:
        """Adds CLAMP, unless the bounds are those of the type."""
        limits = np.iinfo(x.dtype)
        if low <= limits.min and high >= limits.max:
            return x
        bounds = []
        for bound in (low, high):
            data = list(np.array([bound], x.dtype).tobytes())
            bounds.append(data + [0] * (-len(data) % _WORD))
        ignored = ts.NanPropagationMode.PROPAGATE
        return self._add(ts.Op.CLAMP, "Clamp", [x], x.shape, x.dtype, *bounds, ignored)

    def binary(self, operator: str, left: TosaTensor, right: TosaTensor) -> TosaTensor:
        """Adds ADD, SUB or MUL (named so) of int32 tensors that broadcast."""
        shape = np.broadcast_shapes(left.shape, right.shape)
        operands = [left, right]
        if operator == "MUL":
            operands.append(self.constant(np.array([0]), "int8"))
        op = getattr(ts.Op, operator)
        return self._add(op, operator.capitalize(), operands, shape, "int32")

    def max_pool(
        self, x: TosaTensor, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]
    ) -> TosaTensor:
        """Adds MAX_POOL2D; ``pads`` are top, bottom, left, right and never win."""
        shape = _pooled(x, kernel, strides, pads)
        arguments = (list(kernel), list(strides), list(pads), ts.NanPropagationMode.PROPAGATE)
        return self._add(ts.Op.MAX_POOL2D, "MaxPool2d", [x], shape, x.dtype, *arguments)

    def pad(self, x: TosaTensor, pads: Sequence[tuple[int, int]], value: int) -> TosaTensor:
        """Adds PAD: (before, after) for each axis."""
        flat = np.array(pads).reshape(-1)
        operands = [x, self._shape(flat), self.constant(np.array([value]), x.dtype)]
        shape = tuple(size + sum(pad) for size, pad in zip(x.shape, pads, strict=True))
        return self._add(ts.Op.PAD, "Pad", operands, shape, x.dtype)

    def reshape(self, x: TosaTensor, shape: Sequence[int]) -> TosaTensor:
        """Adds RESHAPE, unless the shape is the same."""
        if tuple(shape) == x.shape:
            return x
        operands = [x, self._shape(np.array(shape))]
        return self._add(ts.Op.RESHAPE, "Reshape", operands, shape, x.dtype)

    def transpose(self, x: TosaTensor, axes: Sequence[int]) -> TosaTensor:
        """Adds TRANSPOSE, unless no axis moves; a move of axes of size 1 is a RESHAPE."""
        shape = [x.shape[axis] for axis in axes]
        moved = [axis for axis in axes if x.shape[axis] != 1]
        if moved == sorted(moved):
            return self.reshape(x, shape)
        return self._add(ts.Op.TRANSPOSE, "Transpose", [x], shape, x.dtype, list(axes))

    def concat(self, parts: Sequence[TosaTensor], axis: int) -> TosaTensor:
        """Adds CONCAT."""
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self._add(ts.Op.CONCAT, "Concat", parts, shape, parts[0].dtype, axis)

    def slice(self, x: TosaTensor, starts: Sequence[int], sizes: Sequence[int]) -> TosaTensor:
        """Adds SLICE."""
        operands = [x, self._shape(np.array(starts)), self._shape(np.array(sizes))]
        return self._add(ts.Op.SLICE, "Slice", operands, sizes, x.dtype)

    def table(self, x: TosaTensor, table: Array) -> TosaTensor:
        """Adds TABLE: 256 entries of int8 for int8; 513 of int16 for int16, which give int32."""
        operands = [x, self.constant(table, x.dtype)]
        dtype = {"int8": "int8", "int16": "int32"}[x.dtype]
        return self._add(ts.Op.TABLE, "Table", operands, x.shape, dtype)

    def resize(
        self,
        x: TosaTensor,
        *,
        linear: bool,
        scale: Sequence[int],
        offset: Sequence[int],
        border: Sequence[int],
        size: Sequence[int],
    ) -> TosaTensor:
        """Adds RESIZE; a linear one gives int32 in units of ``1 / (scale_y * scale_x)``.

        Args:
            x: [N, H, W, C].
            linear: Whether to interpolate; else the nearest is taken.
            scale: Numerator and denominator down, then across.
            offset: Down and across, in numerators.
            border: Down and across, in numerators.
            size: Output height and width.
        """
        mode = ts.ResizeMode.BILINEAR if linear else ts.ResizeMode.NEAREST
        operands = [x, *(self._shape(np.array(part)) for part in (scale, offset, border))]
        shape = (x.shape[0], *size, x.shape[3])
        dtype = {"int8": "int32", "int16": "int48"}[x.dtype] if linear else x.dtype
        return self._add(ts.Op.RESIZE, "Resize", operands, shape, dtype, mode)

    def _shape(self, values: Array) -> TosaTensor:
        return self.constant(values.astype(np.int64), "shape")

    def _add(
        self,
        op: Any,
        attribute: str,
        operands: Sequence[TosaTensor],
        shape: Sequence[int],
        dtype: str,
        *arguments: Any,
    ) -> TosaTensor:
        name = self._fresh(self._layer)
        sizes = [int(size) for size in shape]
        self._serializer.currRegion.currBasicBlock.addTensor(name, sizes, _DTYPES[dtype])
        attributes = ts.TosaSerializerAttribute()
        getattr(attributes, f"{attribute}Attribute")(*arguments)
        self._serializer.addOperator(op, [operand.name for operand in operands], [name], attributes)
        return TosaTensor(name, tuple(sizes), dtype)

    def _fresh(self, base: str) -> str:
        self._counts[base] += 1
        return f"{base}:{self._counts[base]}"


def _pooled(
    x: TosaTensor, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]
) -> tuple[int, ...]:
    size = [
        (x.shape[1 + i] + pads[2 * i] + pads[2 * i + 1] - kernel[i]) // strides[i] + 1
        for i in (0, 1)
    ]
    return (x.shape[0], *size, x.shape[3])
