"""What a lowering rule is."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar

import onnx_ir as ir

from ingot.targets.npu.cone import Cone, Source
from ingot.targets.npu.tosa import TosaGraph, TosaTensor

_IMAGE_AXES = 4


class Layer(abc.ABC):
    """A cone, understood: what it reads, and how TOSA computes it.

    Attributes:
        macs: Multiply-adds that the source model needs for it.
    """

    macs: int = 0

    @property
    @abc.abstractmethod
    def sources(self) -> Sequence[Source]:
        """The activations that it reads, in the order in which ``emit`` takes them."""

    @property
    def accumulator_scales(self) -> Sequence[float] | None:
        """What the int32 result is multiplied by, where the layer's result stays float.

        One for each channel (axis 1 of an image, else the last).
        """
        return None

    @abc.abstractmethod
    def emit(self, graph: TosaGraph, inputs: Sequence[TosaTensor]) -> TosaTensor:
        """Adds the layer to a graph and returns its result.

        Args:
            graph: The graph.
            inputs: The sources; images (four axes) are NHWC.
        """


@dataclasses.dataclass(frozen=True)
class OneSourceLayer(Layer):
    """A layer that reads one activation.

    Attributes:
        source: The activation.
    """

    source: Source

    @property
    def sources(self) -> Sequence[Source]:
        """The one activation."""
        return (self.source,)


class Rule(abc.ABC):
    """Lowers one family of operators.

    Attributes:
        name: Name of the family: of the Relax operator, and of the pattern that partitions it.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def match(self, cone: Cone) -> Layer:
        """Returns the layer that a cone is.

        Raises:
            Unfit: The cone is not of this family, or not as the NPU can compute it.
        """


def to_nhwc(shape: Sequence[int]) -> tuple[int, ...]:
    """Returns an ONNX shape as the NPU has it: NCHW becomes NHWC, others stay."""
    if len(shape) != _IMAGE_AXES:
        return tuple(shape)
    return (shape[0], shape[2], shape[3], shape[1])


def nhwc_axis(axis: int, rank: int) -> int:
    """Returns where an axis of an ONNX tensor is on the NPU."""
    axis %= rank
    return {0: 0, 1: 3, 2: 1, 3: 2}[axis] if rank == _IMAGE_AXES else axis


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """Returns an integer attribute."""
    value = node.attributes.get_int(name, default)
    return default if value is None else value


def ints_attribute(node: ir.Node, name: str, default: Sequence[int]) -> list[int]:
    """Returns an attribute of integers."""
    attribute: Mapping[str, ir.Attr] = node.attributes
    return [int(v) for v in attribute[name].as_ints()] if name in attribute else list(default)
