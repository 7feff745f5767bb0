"""Networks over signals: wake words, sequences, the separation of speakers.

DS-CNN: Zhang et al., "Hello Edge: Keyword Spotting on Microcontrollers" (2017), as in MLPerf Tiny.
TCN: Bai et al., "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for
Sequence Modeling" (2018). Conv-TasNet: Luo and Mesgarani (2019), two repeats.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class KeywordSpotting:
    """A DS-CNN's sizes.

    Attributes:
        channels: Of each layer.
        depth: Pairs of a depthwise and a pointwise layer.
        classes: Words.
        batch: Recordings at once; open where it is a name.
        seed: Of the weights.
    """

    channels: int = 64
    depth: int = 4
    classes: int = 12
    batch: int | str = 1
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``coefficients`` [N, 1, 49, 10] to ``logits``."""
        graph = ImageWriter("ds_cnn", opset=17, seed=self.seed)
        x = graph.input("coefficients", np.float32, [self.batch, 1, 49, 10])
        x = graph.conv(x, 1, self.channels, (10, 4), stride=2, pad=(5, 1), activation="Relu")
        for _ in range(self.depth):
            x = graph.conv(
                x, self.channels, self.channels, 3, group=self.channels, activation="Relu"
            )
            x = graph.conv(x, self.channels, self.channels, 1, activation="Relu")
        logits = graph.classify(x, self.channels, self.classes)
        graph.output("logits", logits, [self.batch, self.classes])
        return graph.model()


@dataclasses.dataclass(frozen=True)
class TemporalConvolutions:
    """A TCN's sizes.

    Attributes:
        features: Of a step.
        channels: Of each layer.
        levels: Blocks of two layers, each with twice the distance of taps of the one before.
        taps: Of a window.
        results: Of a step.
        batch: Sequences at once; open where it is a name, as the following.
        length: Steps.
        seed: Of the weights.
    """

    features: int = 80
    channels: int = 128
    levels: int = 8
    taps: int = 3
    results: int = 40
    batch: int | str = 1
    length: int | str = 1000
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``steps`` [N, features, length] to ``results``, each of what came before."""
        graph = ImageWriter("tcn", opset=17, seed=self.seed)
        x = graph.input("steps", np.float32, [self.batch, self.features, self.length])
        inputs = self.features
        for level in range(self.levels):
            y = self._causal(graph, x, inputs, 2**level)
            y = self._causal(graph, y, self.channels, 2**level)
            if inputs != self.channels:
                x = graph.conv(x, inputs, self.channels, 1, rank=1)
            x, inputs = graph.op("Relu", graph.op("Add", x, y)), self.channels
        x = graph.conv(x, inputs, self.results, 1, rank=1)
        graph.output("results", x, [self.batch, self.results, self.length])
        return graph.model()

    def _causal(self, graph: ImageWriter, x: str, inputs: int, dilation: int) -> str:
        """Padding on both sides and a slice of what is too much, as the authors' code has it."""
        reach = (self.taps - 1) * dilation
        y = graph.conv(x, inputs, self.channels, self.taps, pad=reach, dilation=dilation, rank=1)
        return graph.op("Relu", graph.slice(y, 0, -reach, 2))


@dataclasses.dataclass(frozen=True)
class SpeakerSeparation:
    """A Conv-TasNet's sizes.

    Attributes:
        filters: Of the encoder.
        channels: Between blocks.
        inner: Within blocks.
        levels: Blocks of a repeat, each with twice the distance of taps of the one before.
        repeats: Repeats.
        speakers: Speakers.
        batch: Recordings at once; open where it is a name, as the following.
        samples: Of a recording; 8 more than a multiple of 8.
        seed: Of the weights.
    """

    filters: int = 512
    channels: int = 128
    inner: int = 512
    levels: int = 8
    repeats: int = 2
    speakers: int = 2
    batch: int | str = 1
    samples: int | str = 8008
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``mixture`` [N, 1, samples] to ``voices`` [N, speakers, samples]."""
        graph = ImageWriter("conv_tasnet", opset=17, seed=self.seed)
        mixture = graph.input("mixture", np.float32, [self.batch, 1, self.samples])
        encoded = graph.conv(
            mixture, 1, self.filters, 16, stride=8, pad=0, activation="Relu", bias=False, rank=1
        )
        x = self._global_norm(graph, encoded, self.filters)
        x = graph.conv(x, self.filters, self.channels, 1, rank=1)
        skips: list[str] = []
        for block in range(self.levels * self.repeats):
            x, skip = self._block(graph, x, 2 ** (block % self.levels))
            skips.append(skip)
        total = skips[0]
        for skip in skips[1:]:
            total = graph.op("Add", total, skip)
        total = self._prelu(graph, graph.op("Mul", total, graph.number(len(skips) ** -0.5)))
        masks = graph.conv(
            total, self.channels, self.speakers * self.filters, 1, activation="Sigmoid", rank=1
        )
        width = self.filters
        voices = [
            graph.transposed_conv(
                graph.op("Mul", encoded, graph.slice(masks, width * who, width * (who + 1), 1)),
                width, 1, 16, stride=8, rank=1,
            )
            for who in range(self.speakers)
        ]  # fmt: skip
        joined = graph.op("Concat", *voices, axis=1)
        graph.output("voices", joined, [self.batch, self.speakers, self.samples])
        return graph.model()

    def _block(self, graph: ImageWriter, x: str, dilation: int) -> tuple[str, str]:
        y = self._prelu(graph, graph.conv(x, self.channels, self.inner, 1, rank=1))
        y = self._global_norm(graph, y, self.inner)
        y = graph.conv(y, self.inner, self.inner, 3, dilation=dilation, group=self.inner, rank=1)
        y = self._global_norm(graph, self._prelu(graph, y), self.inner)
        added = graph.conv(y, self.inner, self.channels, 1, rank=1)
        return graph.op("Add", x, added), graph.conv(y, self.inner, self.channels, 1, rank=1)

    def _prelu(self, graph: ImageWriter, x: str) -> str:
        return graph.op("PRelu", x, graph.array(np.array([[0.25]], np.float32)))

    def _global_norm(self, graph: ImageWriter, x: str, channels: int) -> str:
        """Normalization over channels and steps, spelled out as it is exported."""
        mean = graph.op("ReduceMean", x, axes=[1, 2], keepdims=1)
        centred = graph.op("Sub", x, mean)
        square = graph.op("Pow", centred, graph.number(2.0))
        variance = graph.op("ReduceMean", square, axes=[1, 2], keepdims=1)
        deviation = graph.op("Sqrt", graph.op("Add", variance, graph.number(1e-8)))
        scale = graph.array(np.ones((1, channels, 1), np.float32))
        shift = graph.weight(1, channels, 1, scale=0.05, name="shift")
        scaled = graph.op("Div", graph.op("Mul", scale, centred), deviation)
        return graph.op("Add", scaled, shift)
