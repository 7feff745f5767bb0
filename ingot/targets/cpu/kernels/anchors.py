"""Anchors: what the selection of a kernel tells the kernel's writer.

Selection leaves plain loops, so that TVM can fuse what follows with them. The block that they begin
with carries its anchor as one annotation: the family that writes the code, and what of the problem
the buffers' shapes do not say.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar, Literal, TypeAlias

from tvm import s_tir

from ingot.runtime.typed_json import decode
from ingot.targets.cpu.kernels.tiling.axes import Window

_ANNOTATION = "ingot.anchor"
_FAMILY = "family"
_KINDS: dict[str, type[Anchor]] = {}

Reduction: TypeAlias = Literal["sum", "max", "min"]


@dataclasses.dataclass(frozen=True)
class Anchor:
    """What a family's writer is told; each family has a type of its own.

    Attributes:
        family: The family's name.
    """

    family: ClassVar[str]

    def __init_subclass__(cls, *, family: str = "") -> None:
        """Makes a type the anchor of a family, by whose name it is found again."""
        if family:
            assert family not in _KINDS, f"{family} has an anchor"
            cls.family = family
            _KINDS[family] = cls


@dataclasses.dataclass(frozen=True)
class MatmulAnchor(Anchor, family="matmul"):
    """A product with packed weights, [panel, ..., K, panel width].

    Attributes:
        depth: Length of the reduction.
        vectors: Vectors of a panel.
        strides: Along height and width, of a convolution; empty for a matrix.
        taps: Neighbouring pixels of a row of the image that make a row of the matrix; rows overlap
            where there are more of them than the stride.
    """

    depth: int
    vectors: int
    strides: tuple[int, ...]
    taps: int


@dataclasses.dataclass(frozen=True)
class ConvolutionAnchor(Anchor, family="convolution"):
    """A convolution of an image of known size with packed weights.

    The weights are [group and panel, kernel height, kernel width, channels of a group, panel
    width].

    Attributes:
        window: What slides over the image.
        groups: Groups of channels.
        channels_first: Whether the image is NCHW.
        lanes: Columns of a vector.
        vectors: Vectors of a panel.
    """

    window: Window
    groups: int
    channels_first: bool
    lanes: int
    vectors: int


@dataclasses.dataclass(frozen=True)
class FewColumnsAnchor(Anchor, family="few_columns"):
    """A convolution to few output channels, [output channel, kernel height, kernel width, channel].

    Attributes:
        window: What slides over the image.
    """

    window: Window


@dataclasses.dataclass(frozen=True)
class OpenConvolutionAnchor(Anchor, family="open_convolution"):
    """A convolution of an image of open size with weights [group and panel, K, panel width].

    Attributes:
        window: What slides over the image.
        groups: Groups of channels.
        vectors: Vectors of a panel.
    """

    window: Window
    groups: int
    vectors: int


@dataclasses.dataclass(frozen=True)
class WindowAnchor(Anchor):
    """A window over each channel by itself.

    Attributes:
        window: What slides over the image.
    """

    window: Window


@dataclasses.dataclass(frozen=True)
class DepthwiseAnchor(WindowAnchor, family="depthwise"):
    """A convolution with one filter per channel, [kernel height, kernel width, channels]."""


@dataclasses.dataclass(frozen=True)
class GroupedConvolutionAnchor(WindowAnchor, family="grouped_convolution"):
    """A convolution of groups of few channels.

    The weights are [kernel height, kernel width, input channels of a group, output channels].

    Attributes:
        groups: Groups of channels.
    """

    groups: int


@dataclasses.dataclass(frozen=True)
class MaxPoolingAnchor(WindowAnchor, family="max_pooling"):
    """The maximum under a window."""


@dataclasses.dataclass(frozen=True)
class SumPoolingAnchor(WindowAnchor, family="sum_pooling"):
    """The sum under a window, which an average is divided from."""


@dataclasses.dataclass(frozen=True)
class ColumnReductionAnchor(Anchor, family="column_reduction"):
    """A reduction over all axes between the leading ones and the last.

    Attributes:
        reduce: What it does.
        leading: Axes before those that are reduced.
    """

    reduce: Reduction
    leading: int


Word: TypeAlias = Literal["uint8", "bfloat16"]
"""What a word of 32 bits holds, of neighbours along a reduction: four bytes or two bfloat16."""


@dataclasses.dataclass(frozen=True)
class WordPacking:
    """How the weights of a kernel are packed whose operands are multiplied word by word.

    Attributes:
        arrays: How many operands hold them, behind the first.
        groups_per_sum: Groups of the reduction that are added in 16 bits.
        tile_groups: Groups that a tile of AMX takes at once; 0 where vectors multiply.
        word: What a group of the reduction is.
    """

    arrays: int
    groups_per_sum: int
    tile_groups: int
    word: Word = "uint8"


@dataclasses.dataclass(frozen=True)
class WordMatmulAnchor(Anchor, family="integer_matmul"):
    """A product of 8-bit integers with packed weights.

    Attributes:
        depth: Length of the reduction.
        vectors: Vectors of a panel.
        strides: Along height and width, of a 1x1 convolution; empty for a matrix.
        packing: How the weights are packed.
    """

    depth: int
    vectors: int
    strides: tuple[int, ...]
    packing: WordPacking


@dataclasses.dataclass(frozen=True)
class WordConvolutionAnchor(Anchor, family="integer_convolution"):
    """A convolution of an 8-bit image of known size; behind the weights comes its zero point.

    Attributes:
        window: What slides over the image.
        groups: Groups of channels.
        channels_first: Whether the image is NCHW.
        vectors: Vectors of a panel.
        packing: How the weights are packed.
    """

    window: Window
    groups: int
    channels_first: bool
    vectors: int
    packing: WordPacking


def anchor_attributes(anchor: Anchor) -> dict[str, str]:
    """Returns the attributes by which a block carries an anchor."""
    return {_ANNOTATION: json.dumps({_FAMILY: anchor.family, **dataclasses.asdict(anchor)})}


def anchor_of(block: s_tir.SBlock) -> Anchor | None:
    """Returns the anchor that a block carries, or None where it carries none.

    Raises:
        ValueError: What it carries is no anchor: a field is missing, unknown or of another type.
    """
    text = block.annotations.get(_ANNOTATION)
    return None if text is None else _decode(str(text))


def _decode(text: str) -> Anchor:
    fields: Any = json.loads(text)
    if not isinstance(fields, dict) or (kind := _KINDS.get(fields.pop(_FAMILY, ""))) is None:
        raise ValueError(f"no family of kernels has the anchor {text[:200]}")
    anchor: Anchor = decode(kind, fields, kind.family)
    return anchor
