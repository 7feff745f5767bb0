"""Convolutional classifiers: the blocks by which families differ, a few stages of each.

ConvNeXt: Liu et al., "A ConvNet for the 2020s" (2022). RegNetY: Radosavovic et al., "Designing
Network Design Spaces" (2020). ShuffleNet: Zhang et al. (2018); ShuffleNetV2: Ma et al. (2018).
DenseNet: Huang et al. (2017).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network's sizes; the defaults are those of ConvNeXt-T, ``PUBLISHED`` has the others'.

    Attributes:
        family: A key of ``FAMILIES``.
        widths: Channels of the stages; a DenseNet's grow by ``group`` instead.
        depths: Blocks of the stages.
        group: Channels of a group, or of what a layer adds; groups of a ShuffleNet.
        last: Channels of the last convolution of a ShuffleNetV2.
        classes: Classes.
        batch: Images at once; open where it is a name, as the following.
        height: A multiple of 32.
        width: Likewise.
        seed: Of the weights.
    """

    family: str
    widths: tuple[int, ...] = (96, 192, 384, 768)
    depths: tuple[int, ...] = (3, 3, 9, 3)
    group: int = 16
    last: int = 1024
    classes: int = 1000
    batch: int | str = 1
    height: int | str = 224
    width: int | str = 224
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``logits``."""
        graph = ImageWriter(self.family, opset=17, seed=self.seed)
        image = graph.input("image", np.float32, [self.batch, 3, self.height, self.width])
        logits = FAMILIES[self.family](graph, image, self)
        graph.output("logits", logits, [self.batch, self.classes])
        return graph.model()


def _channels_last_norm(graph: ImageWriter, x: str, channels: int) -> str:
    normed = graph.layer_norm(graph.transpose(x, 0, 2, 3, 1), channels)
    return graph.transpose(normed, 0, 3, 1, 2)


def _convnext(graph: ImageWriter, x: str, net: Classifier) -> str:
    inputs = net.widths[0]
    x = graph.conv(x, 3, inputs, 4, stride=4, pad=0)
    x = _channels_last_norm(graph, x, inputs)
    for stage, (width, depth) in enumerate(zip(net.widths, net.depths, strict=True)):
        if stage:
            x = _channels_last_norm(graph, x, inputs)
            x = graph.conv(x, inputs, width, 2, stride=2, pad=0)
        for _ in range(depth):
            y = graph.conv(x, width, width, 7, group=width)
            y = graph.layer_norm(graph.transpose(y, 0, 2, 3, 1), width)
            y = graph.feed_forward(y, width, 4 * width)
            y = graph.op("Mul", y, graph.weight(width, scale=0.5, name="scale"))
            x = graph.op("Add", x, graph.transpose(y, 0, 3, 1, 2))
        inputs = width
    mean = graph.op("ReduceMean", x, axes=[2, 3], keepdims=0)
    return graph.linear(graph.layer_norm(mean, inputs), inputs, net.classes)


def _regnet(graph: ImageWriter, x: str, net: Classifier) -> str:
    inputs = 32
    x = graph.conv(x, 3, inputs, 3, stride=2, activation="Relu")
    for width, depth in zip(net.widths, net.depths, strict=True):
        for block in range(depth):
            stride = 2 if block == 0 else 1
            y = graph.conv(x, inputs, width, 1, activation="Relu")
            y = graph.conv(
                y, width, width, 3, stride=stride, group=width // net.group, activation="Relu"
            )
            y = graph.squeeze_excite(y, width, max(8, inputs // 4))
            y = graph.conv(y, width, width, 1)
            if block == 0:
                x = graph.conv(x, inputs, width, 1, stride=stride, pad=0)
            x = graph.op("Relu", graph.op("Add", x, y))
            inputs = width
    return graph.classify(x, inputs, net.classes)


def _shufflenet_v2(graph: ImageWriter, x: str, net: Classifier) -> str:
    inputs = 24
    x = graph.conv(x, 3, inputs, 3, stride=2, activation="Relu")
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for width, depth in zip(net.widths, net.depths, strict=True):
        half = width // 2
        for block in range(depth):
            if block == 0:
                left = graph.conv(x, inputs, inputs, 3, stride=2, group=inputs)
                left = graph.conv(left, inputs, half, 1, activation="Relu")
                right = graph.conv(x, inputs, half, 1, activation="Relu")
            else:
                left, right = graph.ops("Split", 2, x, graph.ints(half, half), axis=1)
                right = graph.conv(right, half, half, 1, activation="Relu")
            right = graph.conv(right, half, half, 3, stride=1 if block else 2, group=half)
            right = graph.conv(right, half, half, 1, activation="Relu")
            x = _shuffled(graph, graph.op("Concat", left, right, axis=1), width, 2)
        inputs = width
    x = graph.conv(x, inputs, net.last, 1, activation="Relu")
    return graph.classify(x, net.last, net.classes)


def _shufflenet(graph: ImageWriter, x: str, net: Classifier) -> str:
    inputs = 24
    x = graph.conv(x, 3, inputs, 3, stride=2, activation="Relu")
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, (width, depth) in enumerate(zip(net.widths, net.depths, strict=True)):
        for block in range(depth):
            stride, inner = (1, width // 4) if block else (2, width // 4)
            # What a block of step two adds stands beside its mean, not on it.
            added = width if block else width - inputs
            # Too few channels for groups before the first block.
            group = net.group if stage or block else 1
            y = graph.conv(x, inputs, inner, 1, group=group, activation="Relu")
            y = _shuffled(graph, y, inner, net.group)
            y = graph.conv(y, inner, inner, 3, stride=stride, group=inner)
            y = graph.conv(y, inner, added, 1, group=net.group)
            if block:
                x = graph.op("Relu", graph.op("Add", x, y))
            else:
                mean = graph.op(
                    "AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
                )
                x = graph.op("Relu", graph.op("Concat", mean, y, axis=1))
            inputs = width
    return graph.classify(x, inputs, net.classes)


def _shuffled(graph: ImageWriter, x: str, channels: int, groups: int) -> str:
    """Channels of the groups taken in turn, as exporters write it: sizes from the image."""
    batch, height, width = (graph.size(x, axis) for axis in (0, 2, 3))
    split = graph.reshape(x, batch, groups, channels // groups, height, width)
    turned = graph.transpose(split, 0, 2, 1, 3, 4)
    return graph.reshape(turned, batch, channels, height, width)


def _densenet(graph: ImageWriter, x: str, net: Classifier) -> str:
    growth = net.group
    channels = 2 * growth
    x = graph.conv(x, 3, channels, 7, stride=2, activation="Relu")
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, depth in enumerate(net.depths):
        for _ in range(depth):
            y = graph.op("Relu", graph.batch_norm(x, channels))
            y = graph.conv(y, channels, 4 * growth, 1, activation="Relu")
            y = graph.conv(y, 4 * growth, growth, 3, bias=False)
            x = graph.op("Concat", x, y, axis=1)
            channels += growth
        x = graph.op("Relu", graph.batch_norm(x, channels))
        if stage + 1 < len(net.depths):
            x = graph.conv(x, channels, channels // 2, 1, bias=False)
            x = graph.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            channels //= 2
    return graph.classify(x, channels, net.classes)


FAMILIES: Mapping[str, Callable[[ImageWriter, str, Classifier], str]] = {
    "convnext": _convnext,
    "regnet": _regnet,
    "shufflenet": _shufflenet,
    "shufflenet_v2": _shufflenet_v2,
    "densenet": _densenet,
}

PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "convnext": {},
    "regnet": {"widths": (64, 128, 320, 768), "depths": (1, 3, 8, 2), "group": 16},
    "shufflenet": {"widths": (240, 480, 960), "depths": (4, 8, 4), "group": 3},
    "shufflenet_v2": {"widths": (116, 232, 464), "depths": (4, 8, 4)},
    "densenet": {"depths": (6, 12, 24, 16), "group": 32},
}
"""Sizes of ConvNeXt-T, RegNetY-800MF, ShuffleNet of three groups, ShuffleNetV2 and DenseNet-121."""
