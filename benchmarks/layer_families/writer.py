"""Writing one layer as a model, in float or as integers in QDQ form.

As integers a layer takes and gives uint8, as it does inside of a quantized network: weights have a
scale per output channel, the bias is of 32 bits, zero points are 0 or 128.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter

Precision: TypeAlias = Literal["fp32", "int8"]
OPSET = 17

# Real numbers that uint8 inputs stand for spread over two, and results over eight.
_INPUT_SCALE = 2.0 / 256.0
_RESULT_SCALE = 8.0 / 256.0
_MIDDLE = 128


class LayerWriter(ImageWriter):
    """A graph of one layer in one precision."""

    def __init__(self, precision: Precision, seed: int) -> None:
        """Begins an empty graph.

        Args:
            precision: ``int8`` writes QDQ.
            seed: Of the weights.
        """
        super().__init__("layer", opset=OPSET, seed=seed)
        self._integers = precision == "int8"

    def activations(self, name: str, shape: Sequence[int]) -> str:
        """Declares an input; returns its float value."""
        if not self._integers:
            return self.input(name, np.float32, shape)
        zero = int(self._generator.choice([0, 0, _MIDDLE]))  # behind a Relu it is 0
        integers = self.input(name, np.uint8, shape)
        return self.op("DequantizeLinear", integers, *self._affine(_INPUT_SCALE, zero))

    def operands(
        self, *shape: int, terms: float, axis: int, outputs: int, bias: bool = True
    ) -> list[str]:
        """Draws weights and a bias.

        Args:
            shape: Of the weights.
            terms: Products that are added to one result, by which weights are scaled.
            axis: The axis of output channels.
            outputs: Output channels, all groups together.
            bias: Whether there is one.
        """
        drawn = self._generator.standard_normal(shape, dtype=np.float32)
        drawn *= np.float32(1.0 / math.sqrt(terms))
        added = self._generator.standard_normal(outputs, dtype=np.float32) * np.float32(0.1)
        if not self._integers:
            return [self.array(drawn, "weight"), *([self.array(added, "bias")] if bias else [])]
        others = tuple(other for other in range(drawn.ndim) if other != axis)
        scales = np.abs(drawn).max(axis=others, keepdims=True) / np.float32(127.0)
        scales = np.maximum(scales, np.float32(1e-6))
        weights = self._dequantized(np.rint(drawn / scales).astype(np.int8), scales.ravel(), axis)
        if not bias:
            return [weights]
        steps = np.resize(scales.ravel(), outputs) * np.float32(_INPUT_SCALE)
        return [weights, self._dequantized(np.rint(added / steps).astype(np.int32), steps, 0)]

    def layer(
        self, value: str, shape: Sequence[int], *, activation: str | None = None
    ) -> onnx.ModelProto:
        """Ends the graph with an activation and the output; returns the model."""
        value = self.activation(value, activation)
        if not self._integers:
            self.output("y", value, shape)
            return self.model()
        scale, zero = (_RESULT_SCALE, _MIDDLE)
        if activation == "Relu":
            scale, zero = scale / 2.0, 0
        quantized = self.op("QuantizeLinear", value, *self._affine(scale, zero))
        self.output("y", quantized, shape, np.uint8)
        return self.model()

    def _affine(self, scale: float, zero: int) -> tuple[str, str]:
        return self.number(scale), self.array(np.array(zero, np.uint8))

    def _dequantized(self, integers: np.ndarray, scales: np.ndarray, axis: int) -> str:
        zeros = np.zeros(scales.shape, integers.dtype)
        parameters = (self.array(scales.astype(np.float32)), self.array(zeros))
        return self.op("DequantizeLinear", self.array(integers, "weight"), *parameters, axis=axis)
