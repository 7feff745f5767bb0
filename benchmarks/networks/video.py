"""A residual network of three-dimensional convolutions, R3D.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition" (2018).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class Video:
    """A network's sizes.

    Attributes:
        widths: Channels of the stages.
        depth: Blocks of a stage.
        classes: Classes.
        batch: Clips at once; open where it is a name, as the following.
        frames: Images of a clip.
        height: Of an image.
        width: Of an image.
        seed: Of the weights.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512)
    depth: int = 2
    classes: int = 400
    batch: int | str = 1
    frames: int | str = 16
    height: int | str = 112
    width: int | str = 112
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``clip`` [N, 3, frames, height, width] to ``logits``."""
        graph = ImageWriter("video", opset=17, seed=self.seed)
        shape = [self.batch, 3, self.frames, self.height, self.width]
        x = graph.input("clip", np.float32, shape)
        inputs = self.widths[0]
        x = graph.conv(x, 3, inputs, (3, 7, 7), stride=(1, 2, 2), activation="Relu", rank=3)
        for stage, width in enumerate(self.widths):
            for block in range(self.depth):
                stride = 2 if stage and block == 0 else 1
                y = graph.conv(x, inputs, width, stride=stride, activation="Relu", rank=3)
                y = graph.conv(y, width, width, rank=3)
                if stride > 1:
                    x = graph.conv(x, inputs, width, 1, stride=2, rank=3)
                x = graph.op("Relu", graph.op("Add", x, y))
                inputs = width
        graph.output("logits", graph.classify(x, inputs, self.classes), [self.batch, self.classes])
        return graph.model()
