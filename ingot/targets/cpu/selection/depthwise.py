"""Depthwise convolutions that become kernels of Ingot's own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import DepthwiseAnchor
from ingot.targets.cpu.kernels.writing.emission import as_float
from ingot.targets.cpu.selection.base import (
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
)
from ingot.targets.cpu.selection.convolution import Convolution, ConvolutionLoops, Declined
from ingot.targets.cpu.selection.words.sources import centred_element, dequantized_source


def select_depthwise(selection: Selection, convolution: Convolution) -> relax.Expr | Declined:
    """Selects the kernel of a float32 convolution with one filter per channel.

    Of centred 8-bit integers, the kernel reads the integers.
    """
    problem, image, array = convolution.problem, convolution.image, convolution.weights
    if problem.integer:
        return Declined("it is of integers")
    if problem.size is None:
        return Declined("its image's size is open")
    if not problem.depthwise:
        return Declined("not every channel has one filter of its own")
    image, centre = centred_source(selection, image)
    if image is not convolution.image and _are_bytes(array):
        array = array.astype(np.int8)
    anchor = DepthwiseAnchor(problem.window)
    loops = ConvolutionLoops(problem, anchor, convolution.shape, image, "depthwise")

    def depthwise(image: te.Tensor, weights: te.Tensor, *centre: te.Tensor) -> te.Tensor:
        return loops.sums(
            image, lambda taps, _, c: as_float(weights(*taps, c)), centred_element(centre)
        )

    return selection.builder.call_te(
        depthwise,
        image,
        relax.const(np.ascontiguousarray(array[:, :, 0, :])),
        *centre,
        primfunc_name_hint="depthwise",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def centred_source(selection: Selection, image: relax.Expr) -> tuple[relax.Expr, list[relax.Expr]]:
    """Returns the integers that a float32 image holds the distances of, and their zero point.

    Returns:
        What to read, and a tensor of what to subtract from it, if anything; the image and nothing
        where it is none of distances.
    """
    source = dequantized_source(selection, image)
    if source is None or source.scale != 1:
        return image, []
    return source.values, source.centre


def _are_bytes(weights: npt.NDArray[np.float32]) -> bool:
    """Whether weights are integers of 8 bits; real ones may meet an image whose scale is one."""
    within = bool(np.all(np.abs(weights) <= np.iinfo(np.int8).max))
    return within and bool(np.all(weights == np.rint(weights)))
