"""Convolutional classifiers: the blocks by which families differ, a few stages of each.

ConvNeXt: Liu et al., "A ConvNet for the 2020s" (2022). MobileNetV3: Howard et al., "Searching for
MobileNetV3" (2019). RegNet: Radosavovic et al., "Designing Network Design Spaces" (2020), whose
blocks with as many groups as channels allow are those of ResNeXt: Xie et al. (2017). ShuffleNetV2:
Ma et al. (2018). DenseNet: Huang et al. (2017).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network's sizes; the defaults are those of a small published one of each family.

    Attributes:
        family: A key of ``FAMILIES``.
        widths: Channels of the stages.
        depths: Blocks of the stages.
        group: Channels of a group, where the family has groups.
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


def _mobilenet_v3(graph: ImageWriter, x: str, net: Classifier) -> str:
    inputs = net.widths[0]
    x = graph.conv(x, 3, inputs, 3, stride=2, activation="HardSwish")
    for stage, (width, depth) in enumerate(zip(net.widths, net.depths, strict=True)):
        kind = "Relu" if stage < 2 else "HardSwish"
        kernel = 5 if stage % 2 else 3
        for block in range(depth):
            stride, inner = 2 if block == 0 else 1, 4 * inputs
            y = graph.conv(x, inputs, inner, 1, activation=kind)
            y = graph.conv(y, inner, inner, kernel, stride=stride, group=inner, activation=kind)
            if stage % 2:
                y = graph.squeeze_excite(y, inner, max(8, inner // 4), "HardSigmoid")
            y = graph.conv(y, inner, width, 1)
            x = graph.op("Add", x, y) if stride == 1 else y
            inputs = width
    x = graph.conv(x, inputs, 6 * inputs, 1, activation="HardSwish")
    return graph.classify(x, 6 * inputs, net.classes)


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
            x = _shuffled(graph, graph.op("Concat", left, right, axis=1), width)
        inputs = width
    x = graph.conv(x, inputs, 2 * inputs, 1, activation="Relu")
    return graph.classify(x, 2 * inputs, net.classes)


def _shuffled(graph: ImageWriter, x: str, channels: int) -> str:
    """Channels of two halves taken in turn, as exporters write it: sizes from the image."""
    batch, height, width = (graph.size(x, axis) for axis in (0, 2, 3))
    split = graph.reshape(x, batch, 2, channels // 2, height, width)
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
    "mobilenet_v3": _mobilenet_v3,
    "regnet": _regnet,
    "shufflenet_v2": _shufflenet_v2,
    "densenet": _densenet,
}
