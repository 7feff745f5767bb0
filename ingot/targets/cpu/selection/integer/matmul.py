"""Matmuls and 1x1 convolutions of 8-bit integers that become kernels of Ingot's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import IntegerMatmulAnchor, anchor_attributes
from ingot.targets.cpu.kernels.integer.dot import GROUP, Bytes
from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import OP_PATTERN, OUT_ELEMENTWISE_FUSABLE, Selection
from ingot.targets.cpu.selection.convolution import Convolution, Declined
from ingot.targets.cpu.selection.integer.packing import Multiplication, PackedWeights, weight_at
from ingot.targets.cpu.selection.integer.sources import Quantized, quantized_source
from ingot.targets.cpu.selection.window import in_terms_of


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
        return te.sum(element * weight_at(weights, panels, index(0), k, column), axis=[k])

    return te.compute(
        tuple(shape),
        value,
        name="integer_matmul",
        attrs=anchor_attributes(
            IntegerMatmulAnchor(depth, panels.vectors, strides, packed.packing)
        ),
    )
