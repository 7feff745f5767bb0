"""Convolutions of 8-bit integers or bfloat16 that become kernels of Ingot's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import WordConvolutionAnchor
from ingot.targets.cpu.kernels.words.dot import GROUP_OF, SUMS
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import OP_PATTERN, OUT_ELEMENTWISE_FUSABLE, Selection
from ingot.targets.cpu.selection.convolution import Convolution, ConvolutionLoops, Declined
from ingot.targets.cpu.selection.words.packing import Multiplication, PackedWeights, weight_at
from ingot.targets.cpu.selection.words.sources import word_source


def select_word_convolution(
    selection: Selection, convolution: Convolution
) -> relax.Expr | Declined:
    """Selects the kernel of a convolution of words of an image of known size."""
    problem = convolution.problem
    if problem.size is None:
        return Declined("its image's size is open")
    source = word_source(selection, convolution.image, convolution.weights)
    if source is None:
        return Declined("its image was made neither of 8-bit integers nor of bfloat16")
    groups, (height, width) = problem.groups, problem.size
    of_word = GROUP_OF[source.word]
    kernel_height, kernel_width = problem.window.kernel
    joined = groups == 1 and problem.window.dilation[1] == 1
    if source.word == "bfloat16":
        if groups > 1 and problem.filters < selection.cpu.float_lanes:
            return Declined("a group's columns do not fill a vector")
        if not joined and problem.channels % of_word:
            return Declined("a word would hold what is not under its tap, which may be no number")
    # What the last word of a tap's row holds of the next pixel, vectors can leave out.
    half = source.word == "bfloat16" and bool(kernel_width * problem.channels % of_word)
    if joined and half:
        chosen = Multiplication.in_vectors(source.word, problem.columns, width, selection.cpu)
    elif joined:
        of_tap = -(-kernel_width * problem.channels // of_word)
        chosen = Multiplication.choose(
            source.word, problem.columns, of_tap, height * width, selection.cpu, of_image=width
        )
    else:
        chosen = Multiplication.in_vectors(source.word, problem.filters, width, selection.cpu)
    array = convolution.weights
    columns_of_group = problem.filters
    if groups > 1:
        # Each group's columns end with a whole panel.
        columns_of_group = chosen.panels.count * chosen.panels.width
        array = _widened(array, groups, columns_of_group)
    panels = dataclasses.replace(chosen.panels, columns=groups * columns_of_group)
    chosen = dataclasses.replace(chosen, panels=panels)
    taps = array.reshape(kernel_height, -1, panels.columns) if joined else array
    # A word that ends with another group's channels, or beyond a row, meets weights of zero there.
    missing = [(0, 0)] * (taps.ndim - 2) + [(0, -taps.shape[-2] % of_word), (0, 0)]
    taps = np.pad(taps, missing).reshape(kernel_height, -1, panels.columns)
    packed = PackedWeights.pack(taps, source, chosen)
    anchor = WordConvolutionAnchor(
        problem.window, groups, source.channels_first, panels.vectors, packed.packing
    )
    loops = ConvolutionLoops(
        problem, anchor, convolution.shape, source.values, "integer_conv2d", source.channels_first
    )
    channels_of_tap = problem.channels if joined else -(-problem.channels // of_word) * of_word

    def conv2d(image: te.Tensor, *arrays: te.Tensor) -> te.Tensor:
        def weight(taps: Sequence[Any], k: Any, column: Any) -> Any:
            at = taps[1] * index(channels_of_tap) + k
            if groups > 1:
                group, place = column // index(problem.filters), column % index(problem.filters)
                column = group * index(columns_of_group) + place
            return weight_at(source.word, arrays, panels, taps[0], at, column)

        return loops.sums(image, weight, lambda value: tirx.Cast(SUMS[source.word], value))

    return selection.builder.call_te(
        conv2d,
        source.values,
        *packed.constants(),
        # Not part of the code, or layers that differ in nothing else would be compiled one by one.
        *([relax.const(np.array([source.zero_point], np.uint8))] if source.word == "uint8" else []),
        primfunc_name_hint=f"{packed.kind}_conv2d",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _widened(weights: npt.NDArray[Any], groups: int, columns: int) -> npt.NDArray[Any]:
    """Weights [..., columns] of which each group has so many columns, the added ones zero."""
    filters = weights.shape[-1] // groups
    by_group = weights.reshape(*weights.shape[:-1], groups, filters)
    added = [(0, 0)] * (by_group.ndim - 1) + [(0, columns - filters)]
    return np.pad(by_group, added).reshape(*weights.shape[:-1], groups * columns)
