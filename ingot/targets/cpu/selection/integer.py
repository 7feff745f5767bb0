"""Convolutions and matmuls of 8-bit integers that become kernels of Ingot's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import (
    IntegerConvolutionAnchor,
    IntegerMatmulAnchor,
    IntegerPacking,
    anchor_attributes,
)
from ingot.targets.cpu.kernels.integer.amx import groups_of_step, tile_panels
from ingot.targets.cpu.kernels.integer.dot import (
    GROUP,
    Bytes,
    DotProduct,
    safe_depth,
    split_excess,
)
from ingot.targets.cpu.kernels.tiling.tiles import Panels, choose_panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.selection.base import (
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
)
from ingot.targets.cpu.selection.convolution import Convolution, ConvolutionLoops, Declined
from ingot.targets.cpu.selection.window import in_terms_of

# An order of axes, and the most channels of an image that is read as the network is given it.
_NCHW_TO_NHWC = [0, 2, 3, 1]
_FEW_CHANNELS = 4


@dataclasses.dataclass(frozen=True)
class Quantized:
    """A tensor of 8-bit integers that stands for their distance from a zero point.

    Attributes:
        values: The tensor, ``uint8``.
        zero_point: The zero point.
        channels_first: Whether it is NCHW though the reader wants NHWC.
    """

    values: relax.Expr
    zero_point: int
    channels_first: bool = False


def quantized_source(selection: Selection, centred: relax.Expr) -> Quantized | None:
    """Returns what ``int16`` values were made of by subtracting a zero point."""
    call, permuted, widened = _producer(selection, centred), None, None
    if _is_call(call, "relax.permute_dims"):
        call, permuted = _producer(selection, call.args[0]), call
    if _is_call(call, "relax.expand_dims") or _is_call(call, "relax.reshape"):
        # A signal as an image of one row.
        call, widened = _producer(selection, call.args[0]), call
    zero_point = 0
    if _is_call(call, "relax.subtract"):
        if not isinstance(call.args[1], tvm.ir.GenericConst):
            return None
        zero_point = int(call.args[1].value.numpy())
        call = _producer(selection, call.args[0])
    if not _is_call(call, "relax.astype") or str(call.args[0].ty.dtype) != "uint8":
        return None
    values = call.args[0]
    if widened is not None:
        shape = widened.ty.shape
        values = selection.builder.emit(relax.op.reshape(values, shape))
    if permuted is None:
        return Quantized(values, zero_point)
    axes = [int(axis) for axis in permuted.attrs.axes]
    if axes == _NCHW_TO_NHWC and int(permuted.ty.shape[-1]) <= _FEW_CHANNELS:
        return Quantized(values, zero_point, channels_first=True)
    return Quantized(selection.builder.emit(relax.op.permute_dims(values, axes)), zero_point)


@dataclasses.dataclass(frozen=True)
class Dequantized:
    """A ``float32`` tensor made of 8-bit integers.

    Attributes:
        values: The integers, ``uint8`` or ``int8``.
        zero_point: What is subtracted from them.
        scale: What they are multiplied with.
    """

    values: relax.Expr
    zero_point: int
    scale: float


def dequantized_source(selection: Selection, image: relax.Expr) -> Dequantized | None:
    """Returns what an image was dequantized from, by one scale and zero point for all of it."""
    call, scale, zero_point = _producer(selection, image), 1.0, 0.0
    if _is_call(call, "relax.multiply"):
        factor = _scalar(call.args[1])
        if factor is None or factor <= 0:
            return None
        call, scale = _producer(selection, call.args[0]), factor
    if _is_call(call, "relax.subtract"):
        centre = _scalar(call.args[1])
        if centre is None:
            return None
        call, zero_point = _producer(selection, call.args[0]), centre
    if not _is_call(call, "relax.astype") or str(call.args[0].ty.dtype) not in ("uint8", "int8"):
        return None
    return Dequantized(call.args[0], int(zero_point), scale)


def _scalar(expression: relax.Expr) -> float | None:
    if not isinstance(expression, tvm.ir.GenericConst):
        return None
    array = expression.value.numpy()
    return float(array.reshape(())) if array.size == 1 else None


def _producer(selection: Selection, expression: relax.Expr) -> Any:
    return selection.producer(expression) if isinstance(expression, relax.Var) else expression


def _is_call(expression: Any, operator: str) -> bool:
    return isinstance(expression, relax.Call) and getattr(expression.op, "name", "") == operator


@dataclasses.dataclass(frozen=True)
class Multiplication:
    """How a layer's products are made.

    Attributes:
        dot: How vectors of bytes are multiplied.
        panels: The panels of its columns.
        tile_groups: Groups of the reduction that a tile of AMX takes at once; 0 where vectors
            multiply.
    """

    dot: DotProduct
    panels: Panels
    tile_groups: int = 0

    @classmethod
    def choose(
        cls, columns: int, groups: int, rows: int | None, cpu: CpuDescription, *, of_image: int = 0
    ) -> Multiplication:
        """Chooses what multiplies a matrix, or an image whose taps are one stream.

        Args:
            columns: Columns of the result.
            groups: Groups of four values of the reduction, per tap along the height.
            rows: Rows of the result, of one image where there are images; None where they are not
                known before the code runs.
            cpu: The processor.
            of_image: How many of them follow each other in the operand, which vectors go by (tiles
                go on in the next row of an image); all by default.
        """
        if tile_groups := groups_of_step(groups, rows, cpu):
            return cls(DotProduct.of(cpu), tile_panels(columns, cpu), tile_groups)
        return cls.in_vectors(columns, of_image or rows, cpu)

    @classmethod
    def in_vectors(cls, columns: int, rows: int | None, cpu: CpuDescription) -> Multiplication:
        """Returns how vectors multiply."""
        dot = DotProduct.of(cpu)
        return cls(dot, choose_panels(columns, rows, cpu, dot.step))


@dataclasses.dataclass(frozen=True)
class PackedWeights:
    """Weights as the kernels read them; see ``kernels.integer.tile.IntegerWeights``."""

    arrays: tuple[npt.NDArray[np.generic], ...]
    depth: int
    tile_groups: int

    @classmethod
    def pack(cls, weights: Bytes, zero_points: int, chosen: Multiplication) -> PackedWeights:
        """Packs weights.

        Args:
            weights: int8 [taps along the height, K, columns], K a multiple of four.
            zero_points: The activations' zero point.
            chosen: How they are multiplied.
        """
        panels = chosen.panels
        offsets = -zero_points * weights.astype(np.int64).sum((0, 1))
        depth, rest = 1, None
        if chosen.dot.saturates and not chosen.tile_groups:
            depth = safe_depth(weights)
            if depth == 0:
                weights, rest = split_excess(weights)
        arrays: list[npt.NDArray[np.generic]] = [
            _pack(weights, panels),
            _columns(offsets[np.newaxis], panels)[:, 0].astype(np.int32),
        ]
        if rest is not None:
            arrays += _excess(_pack(rest, panels))
        contiguous = tuple(np.ascontiguousarray(array) for array in arrays)
        return cls(contiguous, max(depth, 1), chosen.tile_groups)

    def constants(self) -> list[relax.Expr]:
        """Returns the arrays as Relax constants."""
        return [relax.const(array) for array in self.arrays]

    @property
    def packing(self) -> IntegerPacking:
        """What the kernel needs to know of them."""
        return IntegerPacking(len(self.arrays), self.depth, self.tile_groups)


def _columns(array: npt.NDArray[Any], panels: Panels) -> npt.NDArray[Any]:
    """[..., columns] to [panel, ..., panel width]; columns beyond the last are zero."""
    missing = panels.count * panels.width - panels.columns
    padded = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
    return np.moveaxis(padded.reshape(*array.shape[:-1], panels.count, panels.width), -2, 0)


def _pack(weights: Bytes, panels: Panels) -> Bytes:
    """[taps, K, columns] to [panel, taps, groups, 4 · panel width], a group's four together."""
    taps, length, _ = weights.shape
    split = _columns(weights, panels)
    grouped = split.reshape(panels.count, taps, length // GROUP, GROUP, panels.width)
    interleaved = np.moveaxis(grouped, 3, 4)
    return interleaved.reshape(panels.count, taps, length // GROUP, GROUP * panels.width)


def _excess(packed: Bytes) -> list[npt.NDArray[np.generic]]:
    """The groups of packed weights that are not all zero, where they are, and their bounds."""
    flat = packed.reshape(packed.shape[0], -1, packed.shape[-1])
    panel, group = np.nonzero(flat.any(-1))
    counts = np.bincount(panel, minlength=len(flat))
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return [flat[panel, group], group.astype(np.int32), bounds.astype(np.int32)]


def select_integer_convolution(
    selection: Selection, convolution: Convolution
) -> relax.Expr | Declined:
    """Selects the kernel of a convolution of 8-bit integers of an image of known size."""
    problem = convolution.problem
    if not problem.integer:
        return Declined("it is not of integers")
    if problem.size is None:
        return Declined("its image's size is open")
    source = quantized_source(selection, convolution.image)
    if source is None:
        return Declined("its image was not made of 8-bit integers")
    groups, (height, width) = problem.groups, problem.size
    kernel_height, kernel_width = problem.window.kernel
    joined = groups == 1 and problem.window.dilation[1] == 1
    if joined:
        of_tap = -(-kernel_width * problem.channels // GROUP)
        chosen = Multiplication.choose(
            problem.columns, of_tap, height * width, selection.cpu, of_image=width
        )
    else:
        chosen = Multiplication.in_vectors(problem.filters, width, selection.cpu)
    if groups > 1 and (chosen.panels.last_columns or problem.channels % GROUP):
        return Declined("its groups are not whole vectors of columns and whole words of channels")
    panels = dataclasses.replace(chosen.panels, columns=problem.columns)
    chosen = dataclasses.replace(chosen, panels=panels)
    array = convolution.weights.astype(np.int8)
    taps = array.reshape(kernel_height, -1, problem.columns) if joined else array
    missing = [(0, 0)] * (taps.ndim - 2) + [(0, -taps.shape[-2] % GROUP), (0, 0)]
    taps = np.pad(taps, missing).reshape(kernel_height, -1, problem.columns)
    packed = PackedWeights.pack(taps, source.zero_point, chosen)
    anchor = IntegerConvolutionAnchor(
        problem.window, groups, source.channels_first, panels.vectors, packed.packing
    )
    loops = ConvolutionLoops(
        problem, anchor, convolution.shape, source.values, "integer_conv2d", source.channels_first
    )
    channels_of_tap = problem.channels if joined else -(-problem.channels // GROUP) * GROUP

    def conv2d(image: te.Tensor, *arrays: te.Tensor) -> te.Tensor:
        def weight(taps: Sequence[Any], k: Any, column: Any) -> Any:
            at = taps[1] * index(channels_of_tap) + k
            return _weight(arrays, panels, taps[0], at, column)

        return loops.sums(image, weight, lambda value: tirx.Cast("int32", value))

    return selection.builder.call_te(
        conv2d,
        source.values,
        *packed.constants(),
        # Not part of the code, or layers that differ in nothing else would be compiled one by one.
        relax.const(np.array([source.zero_point], np.uint8)),
        primfunc_name_hint="integer_conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def select_integer_pointwise(
    selection: Selection, convolution: Convolution
) -> relax.Expr | Declined:
    """Selects the kernel of a 1x1 convolution of 8-bit integers: that of a matmul."""
    problem = convolution.problem
    if not problem.integer:
        return Declined("it is not of integers")
    if problem.size is None:
        return Declined("its image's size is open")
    if not problem.pointwise:
        return Declined("it is more than a product with each pixel")
    source = quantized_source(selection, convolution.image)
    if source is None:
        return Declined("its image was not made of 8-bit integers")
    if source.channels_first:
        return Declined("its image lies channels first")
    matrix = convolution.weights[0, 0].astype(np.int8)
    height, width = problem.size
    packed, panels = _pack_matrix(matrix, source, height * width, selection)
    strides = problem.window.strides

    def conv2d(image: te.Tensor, *weights: te.Tensor) -> te.Tensor:
        def read(n: Any, y: Any, x: Any, k: Any) -> Any:
            return image(n, y * strides[0], x * strides[1], k)

        shape = in_terms_of(convolution.shape, source.values.ty.shape, image.shape)
        return _matmul(shape, read, weights, problem.channels, panels, packed, strides)

    return selection.builder.call_te(
        conv2d,
        source.values,
        *packed.constants(),
        primfunc_name_hint="integer_conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def select_integer_matmul(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of a product of centred 8-bit values with a constant matrix."""
    rows, weights = call.args
    if str(rows.ty.dtype) != "int16" or not isinstance(weights, tvm.ir.GenericConst):
        return None
    array = weights.value.numpy().astype(np.int8)
    shape = rows.ty.shape
    if array.ndim != 2 or shape is None or len(shape) < 2:
        return None
    source = quantized_source(selection, rows)
    if source is None or source.channels_first:
        return None
    leading = list(shape)[:-1]
    known = all(isinstance(size, tirx.IntImm) for size in leading)
    extent = math.prod(int(size.value) for size in leading) if known else None
    packed, panels = _pack_matrix(array, source, extent, selection)

    def matmul(values: te.Tensor, *weights: te.Tensor) -> te.Tensor:
        shape = [*values.shape[:-1], index(panels.columns)]
        return _matmul(shape, values, weights, array.shape[0], panels, packed)

    return selection.builder.call_te(
        matmul,
        source.values,
        *packed.constants(),
        primfunc_name_hint="integer_matmul",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _pack_matrix(
    array: Bytes, source: Quantized, rows: int | None, selection: Selection
) -> tuple[PackedWeights, Panels]:
    padded = np.pad(array, [(0, -array.shape[0] % GROUP), (0, 0)])[np.newaxis]
    groups = padded.shape[1] // GROUP
    chosen = Multiplication.choose(array.shape[1], groups, rows, selection.cpu)
    return PackedWeights.pack(padded, source.zero_point, chosen), chosen.panels


def _matmul(
    shape: list[Any],
    read: Any,
    weights: tuple[te.Tensor, ...],
    depth: int,
    panels: Panels,
    packed: PackedWeights,
    strides: tuple[int, ...] = (),
) -> te.Tensor:
    """The product as loops over the packed weights alone.

    FuseOps takes from them what may follow; the code, which reads the other arrays too (offsets
    hold what the zero point makes of the weights), is the schedule's.
    """
    k = te.reduce_axis((index(0), index(depth)), "k")

    def value(*place: Any) -> Any:
        *leading, column = place
        element = tirx.Cast("int32", read(*leading, k))
        return te.sum(element * _weight(weights, panels, index(0), k, column), axis=[k])

    return te.compute(
        tuple(shape),
        value,
        name="integer_matmul",
        attrs=anchor_attributes(
            IntegerMatmulAnchor(depth, panels.vectors, strides, packed.packing)
        ),
    )


def _weight(weights: tuple[te.Tensor, ...], panels: Panels, tap: Any, at: Any, column: Any) -> Any:
    width = index(panels.width)
    place = column % width * index(GROUP) + at % index(GROUP)
    return tirx.Cast("int32", weights[0](column // width, tap, at // index(GROUP), place))
