"""The one description of a convolution by which families of kernels take or decline it."""

from __future__ import annotations

import dataclasses

from ingot.targets.cpu.kernels.tiling.axes import Axis, Window
from ingot.targets.cpu.kernels.writing.dimension import Dim


@dataclasses.dataclass(frozen=True)
class ConvolutionProblem:
    """A convolution of images, channels last.

    Whatever axes, groups, steps and sizes a convolution has, it comes to this: a signal is an image
    of one row and a volume as many images as it has slices (``image_rank.py``), a transposed
    convolution is an ordinary one for each of its phases (``transposed_convolution.py``).

    Attributes:
        image: [N, H, W, C]; numbers where they are known.
        result: [N, H, W, columns].
        window: What slides over the image.
        padding_after: Elements behind the image, height first.
        groups: Groups of channels.
        channels: The image's channels of each group.
        filters: Columns of each group.
        integer: Whether the image is of 8-bit integers less their zero point, and sums are exact.
    """

    image: tuple[Dim, Dim, Dim, Dim]
    result: tuple[Dim, Dim, Dim, Dim]
    window: Window
    padding_after: tuple[int, int]
    groups: int
    channels: int
    filters: int
    integer: bool

    @property
    def columns(self) -> int:
        """Columns of the result."""
        return self.groups * self.filters

    @property
    def images(self) -> int | None:
        """Number of images; None where it is not known before the code runs."""
        return self.image[0] if isinstance(self.image[0], int) else None

    @property
    def size(self) -> tuple[int, int] | None:
        """The result's height and width; None where the image's size or depth is open."""
        height, width = self.result[1:3]
        if not all(isinstance(size, int) for size in self.image[1:]):
            return None
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    @property
    def padded(self) -> bool:
        """Whether anything is around the image."""
        return any((*self.window.padding, *self.padding_after))

    @property
    def pointwise(self) -> bool:
        """Whether it is the product of each pixel with a matrix."""
        return self.window.kernel == (1, 1) and self.groups == 1 and not self.padded

    @property
    def in_a_row(self) -> bool:
        """Whether an output is the product of neighbouring pixels of a row with a matrix."""
        kernel_height, kernel_width = self.window.kernel
        neighbours = kernel_width == 1 or self.window.dilation[1] == 1
        return kernel_height == 1 and neighbours and self.groups == 1

    @property
    def depthwise(self) -> bool:
        """Whether each channel has a filter of its own, and one filter only."""
        return self.groups > 1 and (self.channels, self.filters) == (1, 1)

    def axes(self) -> tuple[Axis, Axis]:
        """Returns the axes of an image whose size is known, height first."""
        return self.window.axes(self.image[1:3], self.result[1:3])
