"""Layers on images, as exporters write them: what the builders of vision networks share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.networks.graph import GraphWriter


class ImageWriter(GraphWriter):
    """A graph of layers on images [N, C, H, W], or with one spatial axis less or more."""

    def conv(
        self,
        image: str,
        inputs: int,
        outputs: int,
        kernel: int | Sequence[int] = 3,
        *,
        stride: int | Sequence[int] = 1,
        pad: int | Sequence[int] | None = None,
        group: int = 1,
        dilation: int = 1,
        activation: str | None = None,
        bias: bool = True,
        rank: int = 2,
    ) -> str:
        """A convolution, batch normalization folded into it, and an activation behind it.

        Args:
            image: The image.
            inputs: Its channels.
            outputs: Channels of the result.
            kernel: Taps, per axis or for all.
            stride: Steps, per axis or for all.
            pad: On both sides; by default such that a step of one keeps the size.
            group: Groups of channels.
            dilation: Distance of taps.
            activation: An operator, or ``HardSwish`` or ``SiLU`` spelled out.
            bias: Whether there is a bias.
            rank: Spatial axes.
        """
        taps = [kernel] * rank if isinstance(kernel, int) else list(kernel)
        steps = [stride] * rank if isinstance(stride, int) else list(stride)
        if pad is None:
            pads = [(size - 1) * dilation // 2 for size in taps]
        else:
            pads = [pad] * rank if isinstance(pad, int) else list(pad)
        terms = inputs // group * math.prod(taps)
        weights = self.weight(outputs, inputs // group, *taps, scale=math.sqrt(1.5 / terms))
        operands = [weights] + [self.weight(outputs, scale=0.05, name="bias")] * bias
        result = self.op(
            "Conv", image, *operands, kernel_shape=taps, strides=steps, pads=[*pads, *pads],
            group=group, dilations=[dilation] * rank,
        )  # fmt: skip
        return self.activation(result, activation)

    def activation(self, value: str, kind: str | None) -> str:
        """An activation; those that no old opset has are spelled out."""
        if kind is None:
            return value
        if kind == "SiLU":
            return self.op("Mul", value, self.op("Sigmoid", value))
        if kind == "HardSwish":
            gate = self.op("HardSigmoid", value, alpha=1.0 / 6.0, beta=0.5)
            return self.op("Mul", value, gate)
        if kind == "GELU":
            scaled = self.op("Div", value, self.number(math.sqrt(2.0)))
            curve = self.op("Add", self.op("Erf", scaled), self.number(1.0))
            return self.op("Mul", self.op("Mul", value, curve), self.number(0.5))
        return self.op(kind, value)

    def up_conv(
        self, image: str, inputs: int, outputs: int, scale: int = 2, *, rank: int = 2
    ) -> str:
        """A transposed convolution whose stride is its kernel."""
        weights = self.weight(inputs, outputs, *[scale] * rank, scale=math.sqrt(1.0 / inputs))
        bias = self.weight(outputs, scale=0.05, name="bias")
        return self.op("ConvTranspose", image, weights, bias, strides=[scale] * rank)

    def transposed_conv(
        self,
        image: str,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        activation: str | None = None,
        rank: int = 2,
    ) -> str:
        """A transposed convolution and an activation behind it."""
        terms = inputs * max(1.0, (kernel / stride) ** rank)
        weights = self.weight(inputs, outputs, *[kernel] * rank, scale=math.sqrt(1.5 / terms))
        bias = self.weight(outputs, scale=0.05, name="bias")
        result = self.op(
            "ConvTranspose", image, weights, bias, kernel_shape=[kernel] * rank,
            strides=[stride] * rank, pads=[pad] * 2 * rank,
        )  # fmt: skip
        return self.activation(result, activation)

    def max_pool(
        self, image: str, kernel: int, stride: int, *, pad: int = 0, end: int = 0, rank: int = 2
    ) -> str:
        """Maxima of windows; ``end`` pads below and to the right alone."""
        pads = [pad] * rank + [pad + end] * rank
        return self.op(
            "MaxPool", image, kernel_shape=[kernel] * rank, strides=[stride] * rank, pads=pads
        )

    def dense(self, rows: str, inputs: int, outputs: int, activation: str | None = None) -> str:
        """A fully connected layer of rows [N, inputs], and an activation behind it."""
        weights = self.weight(outputs, inputs, scale=math.sqrt(1.5 / inputs))
        bias = self.weight(outputs, scale=0.05, name="bias")
        return self.activation(self.op("Gemm", rows, weights, bias, transB=1), activation)

    def batch_norm(self, image: str, channels: int) -> str:
        """Batch normalization that nothing folds."""
        scale = self.array(np.ones(channels, np.float32))
        shift = self.weight(channels, scale=0.05, name="shift")
        mean = self.weight(channels, scale=0.05, name="mean")
        variance = self.array(np.full(channels, 1.1, np.float32))
        return self.op("BatchNormalization", image, scale, shift, mean, variance)

    def layer_norm(self, value: str, features: int) -> str:
        """Layer normalization of the last axis."""
        scale = self.array(np.ones(features, np.float32))
        shift = self.weight(features, scale=0.05, name="shift")
        return self.op("LayerNormalization", value, scale, shift, axis=-1, epsilon=1e-6)

    def mean(self, image: str) -> str:
        """The mean of each channel, [N, C, 1, 1]."""
        return self.op("GlobalAveragePool", image)

    def squeeze_excite(self, image: str, channels: int, inner: int, gate: str = "Sigmoid") -> str:
        """Channels scaled by what an average over the image says of them."""
        squeezed = self.conv(self.mean(image), channels, inner, 1, activation="Relu")
        excited = self.conv(squeezed, inner, channels, 1)
        if gate == "HardSigmoid":
            scale = self.op("HardSigmoid", excited, alpha=1.0 / 6.0, beta=0.5)
        else:
            scale = self.op(gate, excited)
        return self.op("Mul", image, scale)

    def classify(self, image: str, channels: int, classes: int) -> str:
        """The mean of each channel through a dense layer."""
        flat = self.op("Flatten", self.mean(image), axis=1)
        weights = self.weight(classes, channels, scale=1.0 / math.sqrt(channels))
        bias = self.weight(classes, scale=0.05, name="bias")
        return self.op("Gemm", flat, weights, bias, transB=1)

    def attention(self, tokens: str, features: int, heads: int) -> str:
        """Self-attention over tokens [N, T, C], one product for queries, keys and values."""
        width = features // heads
        joined = self.linear(tokens, features, 3 * features)
        split = self.op("Reshape", joined, self.ints(0, -1, 3, heads, width))
        parts = self.transpose(split, 2, 0, 3, 1, 4)
        query, key, value = (
            self.op("Gather", parts, self.integer(number), axis=0) for number in range(3)
        )
        scaled = self.op("Mul", query, self.number(1.0 / math.sqrt(width)))
        scores = self.op("MatMul", scaled, self.transpose(key, 0, 1, 3, 2))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), value)
        merged = self.op("Reshape", self.transpose(mixed, 0, 2, 1, 3), self.ints(0, -1, features))
        return self.linear(merged, features, features)

    def feed_forward(self, tokens: str, features: int, inner: int, kind: str = "GELU") -> str:
        """Two dense layers with an activation between."""
        return self.linear(
            self.activation(self.linear(tokens, features, inner), kind), inner, features
        )

    def encoder_layer(self, tokens: str, features: int, heads: int, inner: int) -> str:
        """A transformer's layer, normalization first."""
        attended = self.attention(self.layer_norm(tokens, features), features, heads)
        tokens = self.op("Add", tokens, attended)
        fed = self.feed_forward(self.layer_norm(tokens, features), features, inner)
        return self.op("Add", tokens, fed)
