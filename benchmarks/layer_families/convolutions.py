"""Random convolutions: of one to three axes, grouped, depthwise, dilated, strided, transposed."""

from __future__ import annotations

import dataclasses
import math

import onnx

from benchmarks.layer_families.sampling import Dice, by_dimension
from benchmarks.layer_families.writer import LayerWriter, Precision

_ACTIVATIONS = (None, "Relu", "Relu", "SiLU")


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution with a bias and an activation behind it.

    Attributes:
        batch: Images at once.
        inputs: Channels of the image.
        outputs: Channels of the result.
        image: Sizes of the image, an axis each, as the following.
        kernel: Taps.
        strides: Steps.
        pads: On both sides.
        dilations: Distances of taps.
        groups: Groups of channels.
        activation: An operator, or None.
        transposed: Whether it is a transposed convolution.
    """

    batch: int
    inputs: int
    outputs: int
    image: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int = 1
    activation: str | None = None
    transposed: bool = False

    @property
    def result(self) -> tuple[int, ...]:
        """Sizes of the result."""
        sizes = []
        for size, taps, step, pad, dilation in zip(
            self.image, self.kernel, self.strides, self.pads, self.dilations, strict=True
        ):
            reach = dilation * (taps - 1) + 1
            if self.transposed:
                sizes.append((size - 1) * step + reach - 2 * pad)
            else:
                sizes.append((size + 2 * pad - reach) // step + 1)
        return tuple(sizes)

    @property
    def possible(self) -> bool:
        """Whether there is a result."""
        return min(self.result) >= 1

    @property
    def work(self) -> int:
        """Multiply-adds, of padding too."""
        pixels = math.prod(self.image if self.transposed else self.result)
        products = self.inputs * self.outputs // self.groups * math.prod(self.kernel)
        return self.batch * pixels * products

    @property
    def elements(self) -> int:
        """Of weights, image and result."""
        weights = self.inputs * self.outputs // self.groups * math.prod(self.kernel)
        images = self.inputs * math.prod(self.image) + self.outputs * math.prod(self.result)
        return weights + self.batch * images

    def __str__(self) -> str:
        """The layer in one line."""
        parts = [f"{self.batch}x{self.inputs}x{by_dimension(self.image)} to {self.outputs},"]
        parts.append(by_dimension(self.kernel))
        parts += [f"/{by_dimension(self.strides)}"] * (max(self.strides) > 1)
        parts += [f"pad {by_dimension(self.pads)}"] * (max(self.pads) > 0)
        parts += [f"dilated {by_dimension(self.dilations)}"] * (max(self.dilations) > 1)
        parts += [f"{self.groups} groups"] * (self.groups > 1)
        parts += [self.activation] if self.activation else []
        return " ".join(parts)

    def build(self, precision: Precision, seed: int) -> onnx.ModelProto:
        """The layer as a model."""
        graph = LayerWriter(precision, seed)
        image = graph.activations("x", [self.batch, self.inputs, *self.image])
        attributes = {
            "strides": self.strides, "pads": [*self.pads, *self.pads], "group": self.groups,
            "dilations": self.dilations, "kernel_shape": self.kernel,
        }  # fmt: skip
        taps = math.prod(self.kernel)
        if self.transposed:
            operator, axis = "ConvTranspose", 1
            shape = (self.inputs, self.outputs // self.groups, *self.kernel)
            terms = self.inputs / self.groups * max(1.0, taps / math.prod(self.strides))
        else:
            operator, axis = "Conv", 0
            shape = (self.outputs, self.inputs // self.groups, *self.kernel)
            terms = self.inputs / self.groups * taps
        operands = graph.operands(*shape, terms=terms, axis=axis, outputs=self.outputs)
        value = graph.op(operator, image, *operands, **attributes)
        sizes = [self.batch, self.outputs, *self.result]
        return graph.layer(value, sizes, activation=self.activation)


def _square(
    dice: Dice,
    image: tuple[int, ...],
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, ...],
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padded: bool = True,
) -> Convolution:
    """A convolution with the same step on all axes, padded so that a step of one keeps the size."""
    rank = len(image)
    taps = (kernel,) * rank if isinstance(kernel, int) else kernel
    pads = tuple(dilation * (size - 1) // 2 if padded else 0 for size in taps)
    return Convolution(
        dice.batch(), inputs, outputs, image, taps, (stride,) * rank, pads, (dilation,) * rank,
        groups, dice.one_of(*_ACTIVATIONS),
    )  # fmt: skip


def pointwise(dice: Dice) -> Convolution:
    """1x1 of 8 to 2,048 channels on images of 4 to 112 pixels.

    Up to six times as many or as few results; one of ten skips every other pixel.
    """
    stride = 2 if dice.chance(0.1) else 1
    inputs = dice.channels(8, 2048)
    return _square(dice, dice.image(4, 112), inputs, dice.near(inputs, 6), 1, stride=stride)


def three_by_three(dice: Dice) -> Convolution:
    """3x3, 8 to 512 channels on images of 4 to 224 pixels; some strided, dilated or unpadded."""
    stride = 2 if dice.chance(0.2) else 1
    dilation = dice.one_of(2, 4) if stride == 1 and dice.chance(0.1) else 1
    inputs = dice.channels(8, 512)
    outputs, padded = dice.near(inputs, 3), not dice.chance(0.1)
    if dice.chance(0.1):
        inputs, outputs = 3, dice.channels(8, 64)
    return _square(
        dice, dice.image(4, 224), inputs, outputs, 3, stride=stride, dilation=dilation,
        padded=padded,
    )  # fmt: skip


def window(dice: Dice) -> Convolution:
    """Windows beyond 3x3.

    Patches of 2 to 16 that do not overlap, first layers and others of odd windows of 5 to 13 with
    a step of up to four, 4x4 with a step of two, and windows of one axis (1x7).
    """
    kind = dice.one_of("patch", "patch", "first", "first", "odd", "odd", "even", "axis")
    inputs = dice.one_of(1, 3, 3, 4) if kind == "first" else dice.channels(8, 256)
    outputs = dice.channels(8, 512) if kind == "first" else dice.near(inputs, 4)
    odd = 2 * dice.size(2, 6) + 1
    if kind == "axis":
        taps = dice.one_of((1, odd), (odd, 1))
        return _square(dice, dice.image(7, 56), inputs, outputs, taps)
    if kind == "patch":
        patch = dice.one_of(2, 4, dice.size(2, 16))
        if dice.chance(0.5):
            inputs, outputs = 3, dice.channels(32, 1024)
        image = tuple(patch * side for side in dice.image(4, 256 // patch))
        return _square(dice, image, inputs, outputs, patch, stride=patch, padded=False)
    if kind == "even":
        return _square(dice, dice.image(8, 128), inputs, outputs, 4, stride=2)
    stride = dice.one_of(1, 2, 2, 2, 3, 4) if kind == "first" else dice.one_of(1, 1, 2)
    image = dice.image(32, 256) if kind == "first" else dice.image(7, 64)
    padded = not dice.chance(0.2)
    return _square(dice, image, inputs, outputs, odd, stride=stride, padded=padded)


def depthwise(dice: Dice) -> Convolution:
    """8 to 2,048 channels, windows of 3 to 9 on images of 4 to 112 pixels.

    Some are strided or dilated, some have two or more results per channel.
    """
    channels = dice.channels(8, 2048)
    stride = 2 if dice.chance(0.3) else 1
    dilation = 2 if stride == 1 and dice.chance(0.1) else 1
    multiplier = dice.one_of(2, 3, 4) if dice.chance(0.1) else 1
    kernel = dice.one_of(3, 3, 3, 5, 5, 7, 9)
    return _square(
        dice, dice.image(4, 112), channels, channels * multiplier, kernel, stride=stride,
        dilation=dilation, groups=channels,
    )  # fmt: skip


def grouped(dice: Dice) -> Convolution:
    """2 to 64 groups of 2 to 64 channels, mostly 3x3, some 1x1 or 5x5, a third strided."""
    groups = dice.size(2, 64)
    inputs = dice.size(2, 64)
    outputs = inputs if dice.chance(0.7) else max(1, dice.near(inputs, 3))
    kernel = dice.one_of(1, 3, 3, 3, 5)
    stride = 2 if dice.chance(0.3) else 1
    return _square(
        dice, dice.image(4, 112), groups * inputs, groups * outputs, kernel, stride=stride,
        groups=groups,
    )  # fmt: skip


def one_axis(dice: Dice) -> Convolution:
    """1-D: 1 to 768 channels, 16 to 16,000 steps, 1 to 31 taps.

    Some have a step of up to eight, some are dilated up to 64, one of five has groups.
    """
    length = dice.size(16, 16000)
    inputs = dice.channels(8, 768)
    outputs = dice.near(inputs, 3)
    if dice.chance(0.1):
        inputs = 1
    kernel = dice.size(1, 31)
    if kernel % 2 == 0 and dice.chance(0.8):
        kernel += 1
    stride = dice.one_of(1, 1, 1, 2, dice.size(2, 8))
    dilation = 2 ** dice.size(1, 6) if stride == 1 and kernel > 1 and dice.chance(0.25) else 1
    groups = 1
    if dice.chance(0.2):
        groups = dice.one_of(outputs, 2 ** dice.size(1, 4))
        outputs = max(1, outputs // groups) * groups
        inputs = outputs
    return _square(
        dice, (length,), inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups
    )


def three_axes(dice: Dice) -> Convolution:
    """3-D: up to 256 channels, 2 to 32 frames of 7 to 112 pixels, 3x3x3 and its factors, 5x5x5."""
    frames = dice.size(2, 32)
    image = (frames, *dice.image(7, 112))
    kernel = dice.one_of((3, 3, 3), (3, 3, 3), (1, 3, 3), (3, 1, 1), (1, 1, 1), (5, 5, 5))
    inputs = dice.channels(8, 256)
    outputs = dice.near(inputs, 3)
    if dice.chance(0.2):
        inputs = dice.one_of(1, 3)
    stride = 2 if dice.chance(0.2) else 1
    return _square(dice, image, inputs, outputs, kernel, stride=stride)


def transposed(dice: Dice) -> Convolution:
    """Transposed: 2-D or (one of five) 1-D, windows of 2 to 5, mostly a step of two."""
    rank = 1 if dice.chance(0.2) else 2
    kernel = dice.one_of(2, 2, 3, 4, 4, 5)
    stride = dice.one_of(1, 2, 2, 2, kernel)
    image = dice.image(4, 64) if rank == 2 else (dice.size(16, 4000),)
    pad = dice.size(1, max(1, (kernel - 1) // 2)) if kernel > 2 and dice.chance(0.8) else 0
    inputs = dice.channels(8, 512)
    outputs = dice.one_of(1, 3) if dice.chance(0.15) else dice.near(inputs, 3)
    return Convolution(
        dice.batch(), inputs, outputs, image, (kernel,) * rank,
        (stride,) * rank, (pad,) * rank, (1,) * rank, 1, dice.one_of(*_ACTIVATIONS), True,
    )  # fmt: skip
