"""Classifiers without residual connections, with the layers that they were published with.

AlexNet: Krizhevsky et al. (2012). ZFNet: Zeiler and Fergus, "Visualizing and Understanding
Convolutional Networks" (2014), with the 512 channels of ONNX's model zoo. VGG: Simonyan and
Zisserman (2014). Inception v1: Szegedy et al., "Going Deeper with Convolutions" (2015). SqueezeNet:
Iandola et al. (2016), version 1.1. PointNet: Qi et al. (2017), without its transforms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


class Chain:
    """Layers one after another, each with a Relu; knows channels and, of fixed images, the size."""

    def __init__(self, graph: ImageWriter, image: str, channels: int, size: int, thin: int) -> None:
        """Begins with an image.

        Args:
            graph: What layers are written to.
            image: A value.
            channels: Its channels.
            size: Its height and width.
            thin: What the channels of layers are divided by.
        """
        self.graph, self.value, self.channels, self.size = graph, image, channels, size
        self._thin, self._flat = thin, False

    def conv(
        self, outputs: int, kernel: int = 3, *, stride: int = 1, pad: int | None = None,
        group: int = 1,
    ) -> None:  # fmt: skip
        """A convolution."""
        outputs = outputs // self._thin
        self.value = self.graph.conv(
            self.value, self.channels, outputs, kernel, stride=stride, pad=pad, group=group,
            activation="Relu",
        )  # fmt: skip
        around = 2 * (kernel // 2 if pad is None else pad)
        self.channels, self.size = outputs, (self.size + around - kernel) // stride + 1

    def pool(self, kernel: int = 3, stride: int = 2, *, end: int = 0) -> None:
        """Maxima, with padding at the end where a window reaches beyond."""
        self.value = self.graph.max_pool(self.value, kernel, stride, end=end)
        self.size = (self.size + end - kernel) // stride + 1

    def local_norm(self) -> None:
        """Local response normalization."""
        self.value = self.graph.op("LRN", self.value, size=5, alpha=1e-4, beta=0.75, bias=1.0)

    def dense(self, outputs: int) -> None:
        """A fully connected layer."""
        if not self._flat:
            self.value = self.graph.op("Flatten", self.value, axis=1)
            self.channels, self._flat = self.channels * self.size**2, True
        outputs = outputs // self._thin
        self.value = self.graph.dense(self.value, self.channels, outputs, "Relu")
        self.channels = outputs

    def branches(self, *results: tuple[str, int]) -> None:
        """Goes on with values of so many channels beside each other."""
        self.value = self.graph.op("Concat", *(value for value, _ in results), axis=1)
        self.channels = sum(channels for _, channels in results)


@dataclasses.dataclass(frozen=True)
class FeedForward:
    """A network's sizes.

    Attributes:
        family: A key of ``FAMILIES``.
        thin: What the channels of layers are divided by.
        classes: Classes.
        batch: Images at once; open where it is a name.
        height: Of the images; open where it is a name and the family has no dense layers but the
            last.
        width: As ``height``.
        seed: Of the weights.
    """

    family: str
    thin: int = 1
    classes: int = 1000
    batch: int | str = 1
    height: int | str = 224
    width: int | str = 224
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``logits``."""
        graph = ImageWriter(self.family, opset=17, seed=self.seed)
        image = graph.input("image", np.float32, [self.batch, 3, self.height, self.width])
        size = self.height if isinstance(self.height, int) else 0
        chain = Chain(graph, image, 3, size, self.thin)
        layers, ends_dense = FAMILIES[self.family]
        layers(chain)
        if ends_dense:
            logits = graph.dense(chain.value, chain.channels, self.classes)
        else:
            logits = graph.classify(chain.value, chain.channels, self.classes)
        graph.output("logits", logits, [self.batch, self.classes])
        return graph.model()


def _alexnet(chain: Chain) -> None:
    chain.conv(96, 11, stride=4, pad=0)
    chain.local_norm()
    chain.pool()
    chain.conv(256, 5, group=2)
    chain.local_norm()
    chain.pool()
    chain.conv(384)
    chain.conv(384, group=2)
    chain.conv(256, group=2)
    chain.pool()
    chain.dense(4096)
    chain.dense(4096)


def _zfnet(chain: Chain) -> None:
    chain.conv(96, 7, stride=2, pad=0)
    chain.local_norm()
    chain.pool(end=1)
    chain.conv(256, 5, stride=2, pad=0)
    chain.local_norm()
    chain.pool(end=1)
    for channels in (512, 1024, 512):
        chain.conv(channels)
    chain.pool(end=1)
    chain.dense(4096)
    chain.dense(4096)


def _vgg19(chain: Chain) -> None:
    for channels, depth in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(depth):
            chain.conv(channels)
        chain.pool(2)
    chain.dense(4096)
    chain.dense(4096)


# Channels of 1x1, of 3x3 and what is before it, of 5x5 and what is before it, behind the pooling.
_INCEPTIONS: Sequence[tuple[int, ...] | None] = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), None,
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), None,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip


def _inception_v1(chain: Chain) -> None:
    chain.conv(64, 7, stride=2)
    chain.pool(end=1)
    chain.local_norm()
    chain.conv(64, 1)
    chain.conv(192)
    chain.local_norm()
    chain.pool(end=1)
    for channels in _INCEPTIONS:
        if channels is None:
            chain.pool(end=1)
        else:
            _inception(chain, *channels)


def _inception(
    chain: Chain, one: int, before_three: int, three: int, before_five: int, five: int, pooled: int
) -> None:
    pool = chain.graph.max_pool(chain.value, 3, 1, pad=1)
    starts = [chain.value, chain.value, chain.value, pool]
    layers = ([(one, 1)], [(before_three, 1), (three, 3)], [(before_five, 1), (five, 5)],
              [(pooled, 1)])  # fmt: skip
    chain.branches(*_parallel(chain, starts, layers))


def _squeezenet(chain: Chain) -> None:
    chain.conv(64, 3, stride=2, pad=0)
    for squeezed, stages in ((16, 2), (32, 2), (48, 2), (64, 2)):
        if squeezed != 64:
            chain.pool()
        for _ in range(stages):
            chain.conv(squeezed, 1)
            starts, outputs = [chain.value] * 2, 4 * squeezed
            chain.branches(*_parallel(chain, starts, ([(outputs, 1)], [(outputs, 3)])))
    chain.conv(1000, 1)


def _parallel(
    chain: Chain, starts: Sequence[str], layers: Sequence[Sequence[tuple[int, int]]]
) -> list[tuple[str, int]]:
    """Convolutions from each start, by channels and kernel; the results and their channels."""
    results, channels = [], chain.channels
    for start, branch in zip(starts, layers, strict=True):
        chain.value, chain.channels = start, channels
        for outputs, kernel in branch:
            chain.conv(outputs, kernel)
        results.append((chain.value, chain.channels))
    return results


# What each writes, and whether a dense layer gives the classes rather than a mean and one.
FAMILIES: Mapping[str, tuple[Callable[[Chain], None], bool]] = {
    "alexnet": (_alexnet, True),
    "zfnet": (_zfnet, True),
    "vgg19": (_vgg19, True),
    "inception_v1": (_inception_v1, False),
    "squeezenet": (_squeezenet, False),
}


@dataclasses.dataclass(frozen=True)
class PointNet:
    """A classifier of clouds of points: the same small network on each, then their maxima.

    Attributes:
        widths: Features of a point, layer by layer.
        dense: Features of the dense layers.
        classes: Classes.
        batch: Clouds at once; open where it is a name.
        points: Of a cloud; likewise.
        seed: Of the weights.
    """

    widths: tuple[int, ...] = (64, 64, 64, 128, 1024)
    dense: tuple[int, ...] = (512, 256)
    classes: int = 40
    batch: int | str = 1
    points: int | str = 1024
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``points`` [N, 3, points] to ``logits``."""
        graph = ImageWriter("pointnet", opset=17, seed=self.seed)
        x, inputs = graph.input("points", np.float32, [self.batch, 3, self.points]), 3
        for width in self.widths:
            x = graph.conv(x, inputs, width, 1, activation="Relu", rank=1)
            inputs = width
        x = graph.op("ReduceMax", x, axes=[2], keepdims=0)
        for width in self.dense:
            x = graph.dense(x, inputs, width, "Relu")
            inputs = width
        logits = graph.dense(x, inputs, self.classes)
        graph.output("logits", logits, [self.batch, self.classes])
        return graph.model()
