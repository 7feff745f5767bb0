"""Super-resolution by sub-pixels, ESPCN.

Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network" (2016).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class SuperResolution:
    """A network's sizes.

    Attributes:
        channels: Of the first layer; the second has half as many.
        scale: How much larger the result is.
        mode: Of DepthToSpace: ``CRD``, as PyTorch exports, or ``DCR``.
        batch: Images at once; open where it is a name, as the following.
        height: Of the small image.
        width: Of the small image.
        seed: Of the weights.
    """

    channels: int = 64
    scale: int = 3
    mode: str = "CRD"
    batch: int | str = 1
    height: int | str = 224
    width: int | str = 224
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``small`` to ``large``, one channel each."""
        graph = ImageWriter("superresolution", opset=17, seed=self.seed)
        x = graph.input("small", np.float32, [self.batch, 1, self.height, self.width])
        x = graph.conv(x, 1, self.channels, 5, activation="Tanh")
        x = graph.conv(x, self.channels, self.channels // 2, 3, activation="Tanh")
        x = graph.conv(x, self.channels // 2, self.scale**2, 3)
        x = graph.op("DepthToSpace", x, blocksize=self.scale, mode=self.mode)
        graph.output("large", x, [self.batch, 1, "large_height", "large_width"])
        return graph.model()
