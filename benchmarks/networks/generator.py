"""A generator of images of transposed convolutions, DCGAN.

Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks" (2016).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class Generator:
    """A network's sizes.

    Attributes:
        latent: Numbers that an image is made of.
        widths: Channels of the layers, from 4x4 on; each doubles the image.
        batch: Images at once; open where it is a name.
        seed: Of the weights.
    """

    latent: int = 100
    widths: tuple[int, ...] = (1024, 512, 256, 128)
    batch: int | str = 1
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``latent`` [N, latent, 1, 1] to ``image``."""
        graph = ImageWriter("dcgan", opset=17, seed=self.seed)
        x = graph.input("latent", np.float32, [self.batch, self.latent, 1, 1])
        inputs = self.latent
        for layer, width in enumerate(self.widths):
            stride, pad = (2, 1) if layer else (1, 0)
            x = graph.transposed_conv(
                x, inputs, width, 4, stride=stride, pad=pad, activation="Relu"
            )
            inputs = width
        x = graph.transposed_conv(x, inputs, 3, 4, stride=2, pad=1, activation="Tanh")
        size = 4 * 2 ** len(self.widths)
        graph.output("image", x, [self.batch, 3, size, size])
        return graph.model()
