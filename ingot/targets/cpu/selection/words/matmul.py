"""Matmuls and 1x1 convolutions of 8-bit integers or bfloat16 that become kernels of Ingot's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import WordMatmulAnchor, anchor_attributes
from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.words.dot import GROUP_OF, SUMS
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import OP_PATTERN, OUT_ELEMENTWISE_FUSABLE, Selection
from ingot.targets.cpu.selection.convolution import Convolution, Declined
from ingot.targets.cpu.selection.window import in_terms_of
from ingot.targets.cpu.selection.words.packing import Multiplication, PackedWeights, weight_at
from ingot.targets.cpu.selection.words.sources import Words, word_source


def select_word_matmul(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of a product of centred 8-bit values, or bfloat16, with a known matrix."""
    rows, weights = call.args
    if not isinstance(weights, tvm.ir.GenericConst):
        return None
    array, shape = weights.value.numpy(), rows.ty.shape
    if array.ndim != 2 or shape is None or len(shape) < 2:
        return None
    source = word_source(selection, rows, array)
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
        primfunc_name_hint=f"{packed.kind}_matmul",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def select_word_pointwise(selection: Selection, convolution: Convolution) -> relax.Expr | Declined:
    """Selects the kernel of a 1x1 convolution of 8-bit integers or bfloat16: that of a matmul."""
    problem = convolution.problem
    if problem.size is None:
        return Declined("its image's size is open")
    if not problem.pointwise:
        return Declined("it is more than a product with each pixel")
    source = word_source(selection, convolution.image, convolution.weights)
    if source is None:
        return Declined("its image was made neither of 8-bit integers nor of bfloat16")
    if source.channels_first:
        return Declined("its image lies channels first")
    matrix = convolution.weights[0, 0]
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
        primfunc_name_hint=f"{packed.kind}_conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _pack_matrix(
    array: npt.NDArray[Any], source: Words, rows: int | None, selection: Selection
) -> tuple[PackedWeights, Panels]:
    group = GROUP_OF[source.word]
    padded = np.pad(array, [(0, -array.shape[0] % group), (0, 0)])[np.newaxis]
    groups = padded.shape[1] // group
    chosen = Multiplication.choose(source.word, array.shape[1], groups, rows, selection.cpu)
    return PackedWeights.pack(padded, source, chosen), chosen.panels


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
        element = tirx.Cast(SUMS[packed.word], read(*leading, k))
        weight = weight_at(packed.word, weights, panels, index(0), k, column)
        return te.sum(element * weight, axis=[k])

    return te.compute(
        tuple(shape),
        value,
        name="integer_matmul",
        attrs=anchor_attributes(WordMatmulAnchor(depth, panels.vectors, strides, packed.packing)),
    )
