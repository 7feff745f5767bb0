"""Residual networks, with groups or squeeze-excitation, as classifiers and to segment images.

ResNet: He et al. (2016). ResNeXt: Xie et al. (2017). SE-ResNet: Hu et al. (2018). DeepLabV3: Chen
et al., "Rethinking Atrous Convolution for Semantic Image Segmentation" (2017).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter

# A bottleneck's results have so many times the channels of what is within.
_EXPANSION = 4
_SQUEEZE = 16


@dataclasses.dataclass(frozen=True)
class ResNet:
    """A network's sizes; the defaults are those of ResNet-50.

    Attributes:
        depths: Blocks of the stages.
        channels: Of the first stage; each further one has twice as many.
        bottleneck: Whether blocks are bottlenecks rather than two 3x3 convolutions.
        groups: Groups of the 3x3 convolutions of bottlenecks.
        inner: Channels of a group in the first stage, where there are groups.
        squeeze: Whether blocks end with squeeze-excitation.
        classes: Classes.
        batch: Images at once; open where it is a name, as the following.
        height: A multiple of 32.
        width: Likewise.
        seed: Of the weights.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    channels: int = 64
    bottleneck: bool = True
    groups: int = 1
    inner: int = 4
    squeeze: bool = False
    classes: int = 1000
    batch: int | str = 1
    height: int | str = 224
    width: int | str = 224
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``logits``."""
        graph = ImageWriter("resnet", opset=17, seed=self.seed)
        image = graph.input("image", np.float32, [self.batch, 3, self.height, self.width])
        x, channels = self.features(graph, image)
        graph.output(
            "logits", graph.classify(x, channels, self.classes), [self.batch, self.classes]
        )
        return graph.model()

    def features(self, graph: ImageWriter, image: str, dilated: int = 0) -> tuple[str, int]:
        """Writes all but the classifier.

        Args:
            graph: What it is written to.
            image: The image.
            dilated: How many of the last stages have dilated windows rather than a stride.

        Returns:
            The features and their channels.
        """
        channels = self.channels
        x = graph.conv(image, 3, channels, 7, stride=2, activation="Relu")
        x = graph.max_pool(x, 3, 2, pad=1)
        dilation = 1
        for stage, depth in enumerate(self.depths):
            width, stride = self.channels * 2**stage, 2 if stage else 1
            if stage >= len(self.depths) - dilated:
                dilation, stride = dilation * stride, 1
            for block in range(depth):
                step = stride if block == 0 else 1
                x, channels = self._block(graph, x, channels, width, step, dilation)
        return x, channels

    def _block(
        self, graph: ImageWriter, x: str, inputs: int, width: int, stride: int, dilation: int
    ) -> tuple[str, int]:
        outputs = width * _EXPANSION if self.bottleneck else width
        if self.bottleneck:
            inner = width * self.groups * self.inner // self.channels if self.groups > 1 else width
            y = graph.conv(x, inputs, inner, 1, activation="Relu")
            y = graph.conv(
                y, inner, inner, 3, stride=stride, group=self.groups, dilation=dilation,
                activation="Relu",
            )  # fmt: skip
            y = graph.conv(y, inner, outputs, 1)
        else:
            y = graph.conv(x, inputs, outputs, 3, stride=stride, activation="Relu")
            y = graph.conv(y, outputs, outputs, 3, dilation=dilation)
        if self.squeeze:
            y = graph.squeeze_excite(y, outputs, max(4, outputs // _SQUEEZE))
        if stride > 1 or inputs != outputs:
            x = graph.conv(x, inputs, outputs, 1, stride=stride, pad=0)
        return graph.op("Relu", graph.op("Add", x, y)), outputs


@dataclasses.dataclass(frozen=True)
class DeepLab:
    """A network's sizes: a residual network with dilated windows, and pyramids of them behind it.

    Attributes:
        trunk: The residual network; its classes and sizes of images are not read.
        channels: Of each branch of the pyramid.
        rates: Dilations of its branches.
        classes: Classes of a pixel.
        batch: Images at once; open where it is a name, as the following.
        height: A multiple of 16.
        width: Likewise.
        seed: Of the weights.
    """

    trunk: ResNet = ResNet(depths=(2, 2, 2, 2), bottleneck=False)
    channels: int = 256
    rates: tuple[int, ...] = (6, 12, 18)
    classes: int = 21
    batch: int | str = 1
    height: int | str = 256
    width: int | str = 256
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``scores`` of the same height and width."""
        graph = ImageWriter("deeplab", opset=17, seed=self.seed)
        image = graph.input("image", np.float32, [self.batch, 3, self.height, self.width])
        x, inputs = self.trunk.features(graph, image, dilated=1)
        branches = [graph.conv(x, inputs, self.channels, 1, activation="Relu")]
        branches += [
            graph.conv(x, inputs, self.channels, 3, dilation=rate, activation="Relu")
            for rate in self.rates
        ]
        mean = graph.conv(graph.mean(x), inputs, self.channels, 1, activation="Relu")
        size = graph.slice(graph.op("Shape", x), 2, 4, 0)
        whole = graph.op("Concat", graph.ints(1, 1), size, axis=0)
        branches.append(graph.op("Tile", mean, whole))
        joined = graph.op("Concat", *branches, axis=1)
        x = graph.conv(joined, len(branches) * self.channels, self.channels, 1, activation="Relu")
        x = graph.conv(x, self.channels, self.channels, 3, activation="Relu")
        x = graph.conv(x, self.channels, self.classes, 1)
        # All stages but the first and the dilated one halve the image, and the stem twice.
        times = 2 ** len(self.trunk.depths)
        scales = graph.array(np.array([1, 1, times, times], np.float32))
        x = graph.op(
            "Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel"
        )
        graph.output("scores", x, [self.batch, self.classes, self.height, self.width])
        return graph.model()
