"""A recognizer of lines of text: convolutions, then recurrent layers along the line, CRNN.

Shi et al., "An End-to-End Trainable Neural Network for Image-based Sequence Recognition" (2017).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class TextRecognizer:
    """A network's sizes.

    Attributes:
        channels: Of the first layer; the last has eight times as many.
        units: Of each direction of the recurrent layers.
        characters: What can be recognized, with the blank.
        batch: Lines at once; open where it is a name, as the following.
        width: Of the image, which is 32 high; a multiple of 4.
        seed: Of the weights.
    """

    channels: int = 64
    units: int = 256
    characters: int = 37
    batch: int | str = 1
    width: int | str = 128
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``line`` [N, 1, 32, width] to ``scores`` [steps, N, characters]."""
        graph = ImageWriter("crnn", opset=17, seed=self.seed)
        x = graph.input("line", np.float32, [self.batch, 1, 32, self.width])
        inputs = 1
        for times, pool in ((1, (2, 2)), (2, (2, 2)), (4, None), (4, (2, 1)), (8, None),
                            (8, (2, 1))):  # fmt: skip
            outputs = times * self.channels
            x, inputs = graph.conv(x, inputs, outputs, 3, activation="Relu"), outputs
            if pool:
                x = graph.op("MaxPool", x, kernel_shape=pool, strides=pool)
        x = graph.conv(x, inputs, inputs, 2, pad=0, activation="Relu")
        steps = graph.transpose(graph.op("Squeeze", x, graph.ints(2)), 2, 0, 1)
        steps = self._both_ways(graph, steps, inputs)
        steps = graph.linear(steps, 2 * self.units, self.units)
        steps = self._both_ways(graph, steps, self.units)
        scores = graph.linear(steps, 2 * self.units, self.characters)
        count = self.width // 4 - 1 if isinstance(self.width, int) else "steps"
        graph.output("scores", scores, [count, self.batch, self.characters])
        return graph.model()

    def _both_ways(self, graph: ImageWriter, steps: str, inputs: int) -> str:
        """An LSTM of both directions: [steps, N, inputs] to [steps, N, 2 units]."""
        gates, scale = 4 * self.units, 1.0 / math.sqrt(self.units)
        weights = [
            graph.weight(2, gates, inputs, scale=1.0 / math.sqrt(inputs)),
            graph.weight(2, gates, self.units, scale=scale),
            graph.weight(2, 2 * gates, scale=scale, name="bias"),
        ]
        states = graph.op(
            "LSTM", steps, *weights, hidden_size=self.units, direction="bidirectional"
        )
        joined = graph.transpose(states, 0, 2, 1, 3)
        return graph.op("Reshape", joined, graph.ints(0, 0, -1))
