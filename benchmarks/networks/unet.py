"""U-Nets: a decoder that doubles by transposed convolutions, and one that doubles by Resize.

Ronneberger, Fischer and Brox, "U-Net" (2015); of volumes: Çiçek et al., "3D U-Net" (2016).
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
        depth: Likewise, of a volume; None for images.
        seed: Of the weights.
    """

    up: Literal["transposed", "resize"] = "transposed"
    channels: int = 32
    levels: int = 4
    classes: int = 2
    batch: int | str = 1
    height: int | str = 256
    width: int | str = 256
    depth: int | str | None = None
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``mask``."""
        graph = ImageWriter("unet", opset=17, seed=self.seed)
        sizes = [self.height, self.width]
        if self.depth is not None:
            sizes = [self.depth, *sizes]
        rank = len(sizes)
        x = graph.input("image", np.float32, [self.batch, 3, *sizes])
        skips: list[tuple[str, int]] = []
        inputs, channels = 3, self.channels
        for _ in range(self.levels):
            x = self._double_conv(graph, x, inputs, channels)
            skips.append((x, channels))
            x = graph.max_pool(x, 2, 2, rank=rank)
            inputs, channels = channels, 2 * channels
        x = self._double_conv(graph, x, inputs, channels)
        for skip, outer in reversed(skips):
            x = self._up(graph, x, channels, outer)
            x = graph.op("Concat", skip, x, axis=1)
            x = self._double_conv(graph, x, 2 * outer, outer)
            channels = outer
        x = graph.conv(x, channels, self.classes, 1, rank=rank)
        graph.output("mask", x, [self.batch, self.classes, *sizes])
        return graph.model()

    def _double_conv(self, graph: ImageWriter, x: str, inputs: int, outputs: int) -> str:
        rank = 2 if self.depth is None else 3
        x = graph.conv(x, inputs, outputs, activation="Relu", rank=rank)
        return graph.conv(x, outputs, outputs, activation="Relu", rank=rank)

    def _up(self, graph: ImageWriter, x: str, inputs: int, outputs: int) -> str:
        rank = 2 if self.depth is None else 3
        if self.up == "transposed":
            return graph.up_conv(x, inputs, outputs, rank=rank)
        scales = graph.array(np.array([1, 1, *[2] * rank], np.float32))
        x = graph.op(
            "Resize", x, "", scales, mode="linear",
            coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
        return graph.conv(x, inputs, outputs, rank=rank)
