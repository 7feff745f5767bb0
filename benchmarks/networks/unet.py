"""U-Nets: a decoder that doubles by transposed convolutions, and one that doubles by Resize.

Ronneberger, Fischer and Brox, "U-Net" (2015).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class UNet:
    """A network's sizes.

    Attributes:
        up: How the decoder doubles an image.
        channels: Of the first level; each further one has twice as many.
        levels: How often the image is halved.
        classes: Channels of the result.
        batch: Images at once; open where it is a name, as the following.
        height: A multiple of two to the power of ``levels``.
        width: Likewise.
        seed: Of the weights.
    """

    up: Literal["transposed", "resize"] = "transposed"
    channels: int = 32
    levels: int = 4
    classes: int = 2
    batch: int | str = 1
    height: int | str = 256
    width: int | str = 256
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``mask``."""
        graph = ImageWriter("unet", opset=17, seed=self.seed)
        x = graph.input("image", np.float32, [self.batch, 3, self.height, self.width])
        skips: list[tuple[str, int]] = []
        inputs, channels = 3, self.channels
        for _ in range(self.levels):
            x = self._double_conv(graph, x, inputs, channels)
            skips.append((x, channels))
            x = graph.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
            inputs, channels = channels, 2 * channels
        x = self._double_conv(graph, x, inputs, channels)
        for skip, outer in reversed(skips):
            x = self._up(graph, x, channels, outer)
            x = graph.op("Concat", skip, x, axis=1)
            x = self._double_conv(graph, x, 2 * outer, outer)
            channels = outer
        x = graph.conv(x, channels, self.classes, 1)
        graph.output("mask", x, [self.batch, self.classes, self.height, self.width])
        return graph.model()

    def _double_conv(self, graph: ImageWriter, x: str, inputs: int, outputs: int) -> str:
        x = graph.conv(x, inputs, outputs, activation="Relu")
        return graph.conv(x, outputs, outputs, activation="Relu")

    def _up(self, graph: ImageWriter, x: str, inputs: int, outputs: int) -> str:
        if self.up == "transposed":
            return graph.up_conv(x, inputs, outputs)
        scales = graph.array(np.array([1, 1, 2, 2], np.float32))
        x = graph.op(
            "Resize", x, "", scales, mode="linear",
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
        return graph.conv(x, inputs, outputs)
