"""Quantized layers behind each other, each with a zero point of its own."""

from __future__ import annotations

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees


def quantized(network: Network, value: str, scale: float, zero_point: int) -> str:
    """A value through QuantizeLinear and DequantizeLinear."""
    given = (
        network.constant(np.array(scale, np.float32)),
        network.constant(np.array(zero_point, np.uint8)),
    )
    return network.apply("DequantizeLinear", network.apply("QuantizeLinear", value, *given), *given)


def weights(network: Network, *shape: int) -> str:
    """Integer weights behind their DequantizeLinear."""
    integers = np.random.default_rng(3).integers(-30, 31, shape).astype(np.int8)
    scales = np.full(shape[0], 2.0**-6, np.float32)
    return network.apply(
        "DequantizeLinear",
        network.constant(integers),
        network.constant(scales),
        network.constant(np.zeros(shape[0], np.int8)),
        axis=0,
    )


def test_depthwise_behind_pointwise(compile_for_cpu: Compile) -> None:
    network = Network()
    x = quantized(network, network.input(1, 8, 6, 7), 0.25, 7)
    y = network.apply("Conv", x, weights(network, 16, 8, 1, 1))
    y = quantized(network, y, 0.5, 11)
    y = network.apply("Conv", y, weights(network, 16, 1, 3, 3), group=16, pads=(1, 1, 1, 1))
    network.output(quantized(network, y, 0.5, 13))
    compiled = compile_for_cpu(network.model())
    assert "depthwise" in compiled.kernels.values()
    # Steps of the integers are powers of two: float32 is exact, and so is the comparison.
    assert_agrees(compiled, network)


@pytest.mark.parametrize(
    ("channels", "filters", "groups"),
    [(16, 16, 4), (33, 33, 11), (16, 48, 16)],
    ids=["four each", "three each", "three filters per channel"],
)
def test_few_channels_per_group_behind_pointwise(
    compile_for_cpu: Compile, channels: int, filters: int, groups: int
) -> None:
    network = Network()
    x = quantized(network, network.input("N", 8, 6, 7), 0.25, 7)
    y = network.apply("Conv", x, weights(network, channels, 8, 1, 1))
    y = quantized(network, y, 0.5, 11)
    kernel = weights(network, filters, channels // groups, 3, 3)
    y = network.apply("Conv", y, kernel, group=groups, pads=(1, 1, 1, 1), strides=(2, 1))
    network.output(quantized(network, y, 0.5, 13))
    compiled = compile_for_cpu(network.model())
    (kernel,) = (
        name for name, family in compiled.kernels.items() if family == "grouped_convolution"
    )
    image = compiled.lowered.module[kernel].params[0]
    assert str(image.dtype) == "uint8", "bytes are read"
    # Steps of the integers are powers of two: float32 is exact, and so is the comparison.
    assert_agrees(compiled, network, N=2)
