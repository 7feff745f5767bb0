"""Layers as Keras has them by default: padding ``same``, batch norms that may be folded in."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ingot.models.architectures.layers import LayerGraph

_EPSILON = 1e-3  # Keras's default


def numbered(layer: str, index: int) -> str:
    """Returns the name that Keras gives to layer number ``index`` of a kind."""
    return f"{layer}_{index}" if index else layer


class KerasGraph(LayerGraph):
    """A graph of Keras's layers; images are NCHW, as everywhere in ONNX.

    A checkpoint has each convolution's batch norm, or has it folded into weights and bias.
    """

    def same_conv(
        self,
        x: ir.Value,
        name: str,
        size: Sequence[int],
        *,
        stride: int = 1,
        depthwise: bool = False,
    ) -> ir.Value:
        """A convolution with a bias and padding ``same``.

        Args:
            x: The image.
            name: The layer.
            size: Height and width of the image; padding depends on it.
            stride: On both axes.
            depthwise: Whether each channel is convolved on its own.
        """
        weight = self.array(f"{name}.weight")
        (top, bottom), (left, right) = (
            _same_padding(length, kernel, stride)
            for length, kernel in zip(size, weight.shape[2:], strict=True)
        )
        groups = weight.shape[0] if depthwise else 1
        pads = (top, left, bottom, right)
        return self.conv(x, name, stride=stride, pads=pads, groups=groups, bias=True)

    def normalized(self, x: ir.Value, name: str) -> ir.Value:
        """The batch norm of this name, where the checkpoint has not folded it."""
        if not self.has(f"{name}.weight"):
            return x
        return self.batch_norm(x, name, epsilon=_EPSILON)


def reduced(size: Sequence[int], stride: int) -> tuple[int, int]:
    """Returns the height and width that a convolution with padding ``same`` leaves."""
    height, width = (-(-length // stride) for length in size)
    return height, width


def _same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Before and after: as much as each window needs, the odd pixel after."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2
