"""Convolutions: each is described once, and goes to the first family of kernels that takes it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy.typing as npt
import tvm
from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import Anchor, anchor_attributes
from ingot.targets.cpu.kernels.convolution.problem import ConvolutionProblem
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import Selection, Selector
from ingot.targets.cpu.selection.dimensions import shape_of
from ingot.targets.cpu.selection.window import in_terms_of, read_under, taps_of, window_of

_LOGGER = logging.getLogger(__name__)
# Batch, two of space, channels.
_IMAGE_AXES = 4


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution for which a kernel is selected.

    Attributes:
        problem: What is computed.
        image: [N, H, W, C], float32, or int16 for 8-bit integers less their zero point.
        weights: [kernel height, kernel width, channels of a group, columns].
        shape: The result's.
    """

    problem: ConvolutionProblem
    image: relax.Expr
    weights: npt.NDArray[Any]
    shape: Sequence[Any]


@dataclasses.dataclass(frozen=True)
class Declined:
    """A family does not take a convolution.

    Attributes:
        reason: Why.
    """

    reason: str


# Gives the call of a family's kernel.
ConvolutionRule: TypeAlias = "Callable[[Selection, Convolution], relax.Expr | Declined]"


def convolution_of(call: relax.Call) -> Convolution | Declined:
    """Reads a call of Relax's convolution of images."""
    image, weights = call.args
    attrs = call.attrs
    if not isinstance(weights, tvm.ir.GenericConst):
        return Declined("its weights are not known")
    if (attrs.data_layout, attrs.kernel_layout) != ("NHWC", "HWIO"):
        return Declined("its channels are not last")
    sizes, results = shape_of(image), shape_of(call)
    if sizes is None or results is None or len(sizes) != _IMAGE_AXES:
        return Declined("nothing is known of its image's shape")
    array = weights.value.numpy()
    kernel_height, kernel_width, channels, columns = array.shape
    types = (str(image.ty.dtype), str(array.dtype))
    if types not in (("float32", "float32"), ("int16", "int16")):
        return Declined(f"there are no kernels for {' and '.join(types)}")
    groups = int(attrs.groups)
    bottom, right = (int(size) for size in list(attrs.padding)[2:])
    problem = ConvolutionProblem(
        image=(sizes[0], sizes[1], sizes[2], sizes[3]),
        result=(results[0], results[1], results[2], columns),
        window=window_of(call, (kernel_height, kernel_width)),
        padding_after=(bottom, right),
        groups=groups,
        channels=channels,
        filters=columns // groups,
        integer=types[0] == "int16",
    )
    return Convolution(problem, image, array, list(call.ty.shape))


def convolution_selector(families: Sequence[tuple[str, ConvolutionRule]]) -> Selector:
    """Returns the rule for Relax's convolution: the first family that takes one has it.

    Args:
        families: Their names and rules.
    """

    def select(selection: Selection, call: relax.Call) -> relax.Expr | None:
        convolution = convolution_of(call)
        if isinstance(convolution, Declined):
            _LOGGER.debug("no family takes %s: %s", call, convolution.reason)
            return None
        for name, rule in families:
            selected = rule(selection, convolution)
            if not isinstance(selected, Declined):
                return selected
            _LOGGER.debug("%s declines %s: %s", name, convolution.problem, selected.reason)
        return None

    return select


@dataclasses.dataclass(frozen=True)
class ConvolutionLoops:
    """A convolution as plain loops, to be fused; its family writes the code from the anchor.

    Attributes:
        problem: The convolution.
        anchor: What its family is told.
        shape: The result's shape, in the graph's variables.
        source: The tensor that is read.
        name: What it is called.
        channels_first: Whether the tensor is NCHW.
    """

    problem: ConvolutionProblem
    anchor: Anchor
    shape: Sequence[Any]
    source: relax.Expr
    name: str
    channels_first: bool = False

    def sums(
        self,
        image: te.Tensor,
        weight: Callable[[Sequence[Any], Any, Any], Any],
        element: Callable[[Any], Any] = lambda value: value,
    ) -> te.Tensor:
        """Returns the sums over taps and channels.

        Args:
            image: The tensor that is read.
            weight: Returns the weight of a tap, of one of a group's channels and of a column.
            element: What becomes of the image's elements.
        """
        problem = self.problem
        taps = taps_of(problem.window)
        k = te.reduce_axis((index(0), index(problem.channels)), "k")

        def value(n: Any, y: Any, x: Any, column: Any) -> Any:
            channel = k
            if problem.groups > 1:
                channel = column // index(problem.filters) * index(problem.channels) + k
            read = read_under(
                problem.window,
                image,
                (n, y, x, channel),
                taps,
                outside=0,
                channels_first=self.channels_first,
            )
            return te.sum(element(read) * weight(taps, k, column), axis=[*taps, k])

        return te.compute(
            in_terms_of(self.shape, self.source.ty.shape, image.shape),
            value,
            name=self.name,
            attrs=anchor_attributes(self.anchor),
        )
