"""The larger MobileNetV3, block by block: Howard et al., "Searching for MobileNetV3" (2019)."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class Block:
    """An inverted bottleneck: kernel, channels within and behind it, squeeze, activation, step."""

    kernel: int
    inner: int
    outputs: int
    squeeze: bool
    activation: str
    stride: int


BLOCKS = (
    Block(3, 16, 16, False, "Relu", 1),
    Block(3, 64, 24, False, "Relu", 2),
    Block(3, 72, 24, False, "Relu", 1),
    Block(5, 72, 40, True, "Relu", 2),
    Block(5, 120, 40, True, "Relu", 1),
    Block(5, 120, 40, True, "Relu", 1),
    Block(3, 240, 80, False, "HardSwish", 2),
    Block(3, 200, 80, False, "HardSwish", 1),
    Block(3, 184, 80, False, "HardSwish", 1),
    Block(3, 184, 80, False, "HardSwish", 1),
    Block(3, 480, 112, True, "HardSwish", 1),
    Block(3, 672, 112, True, "HardSwish", 1),
    Block(5, 672, 160, True, "HardSwish", 2),
    Block(5, 960, 160, True, "HardSwish", 1),
    Block(5, 960, 160, True, "HardSwish", 1),
)


@dataclasses.dataclass(frozen=True)
class MobileNetV3:
    """A network's sizes.

    Attributes:
        blocks: Its blocks.
        last: Channels of the last convolution.
        hidden: Features of the layer before the classes.
        classes: Classes.
        batch: Images at once; open where it is a name, as the following.
        height: A multiple of 32.
        width: Likewise.
        seed: Of the weights.
    """

    blocks: tuple[Block, ...] = BLOCKS
    last: int = 960
    hidden: int = 1280
    classes: int = 1000
    batch: int | str = 1
    height: int | str = 224
    width: int | str = 224
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``image`` to ``logits``."""
        graph = ImageWriter("mobilenet_v3", opset=17, seed=self.seed)
        x = graph.input("image", np.float32, [self.batch, 3, self.height, self.width])
        inputs = self.blocks[0].inner
        x = graph.conv(x, 3, inputs, 3, stride=2, activation="HardSwish")
        for block in self.blocks:
            x = self._block(graph, x, inputs, block)
            inputs = block.outputs
        x = graph.conv(x, inputs, self.last, 1, activation="HardSwish")
        flat = graph.op("Flatten", graph.mean(x), axis=1)
        hidden = graph.dense(flat, self.last, self.hidden, "HardSwish")
        logits = graph.dense(hidden, self.hidden, self.classes)
        graph.output("logits", logits, [self.batch, self.classes])
        return graph.model()

    def _block(self, graph: ImageWriter, x: str, inputs: int, block: Block) -> str:
        y = x
        if block.inner != inputs:
            y = graph.conv(x, inputs, block.inner, 1, activation=block.activation)
        y = graph.conv(
            y, block.inner, block.inner, block.kernel, stride=block.stride, group=block.inner,
            activation=block.activation,
        )  # fmt: skip
        if block.squeeze:
            y = graph.squeeze_excite(y, block.inner, max(8, block.inner // 4), "HardSigmoid")
        y = graph.conv(y, block.inner, block.outputs, 1)
        same = block.stride == 1 and inputs == block.outputs
        return graph.op("Add", x, y) if same else y
