"""Signals and volumes go through the kernels for images of two axes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees


def test_signals(compile_for_cpu: Compile) -> None:
    network = Network()
    signal = network.input(2, 1, 40)
    x = network.apply("Conv", signal, network.weight(8, 1, 5), network.weight(8), pads=[2, 2])
    x = network.apply("Relu", x)
    y = network.apply("Conv", x, network.weight(8, 8, 3), pads=[1, 1], strides=[1])
    y = network.apply("Sigmoid", network.apply("Add", y, x))
    y = network.apply("Mul", y, network.constant(0.5))
    y = network.apply("Add", y, network.weight(1, 8, 1))
    y = network.apply("MaxPool", y, kernel_shape=[2], strides=[2])
    y = network.apply("Conv", y, network.weight(8, 1, 3), group=8, pads=[1, 1])
    y = network.apply("Gelu", y)
    network.output(network.apply("AveragePool", y, kernel_shape=[4], strides=[4], pads=[1, 3]))
    network.output(network.apply("ReduceMean", x, network.constant(np.array([2])), keepdims=1))
    compiled = compile_for_cpu(network.model())
    assert_agrees(compiled, network)
    # The loops turn the result into what the caller wants.
    assert sorted(compiled.work) == [
        "average_pooling", "convolution", "convolution", "depthwise", "loops", "max_pooling",
        "reduction",
    ]  # fmt: skip


def test_volumes(compile_for_cpu: Compile) -> None:
    network = Network()
    volume = network.input(2, 3, 5, 8, 6)
    x = network.apply(
        "Conv", volume, network.weight(8, 3, 3, 3, 3), network.weight(8), pads=[1] * 6
    )
    x = network.apply("Relu", x)
    y = network.apply("Conv", x, network.weight(8, 8, 1, 1, 1))
    y = network.apply("Add", y, x)
    y = network.apply("Mul", y, network.apply("Sigmoid", y))
    z = network.apply("Conv", y, network.weight(8, 1, 3, 1, 3), group=8, strides=[2, 1, 1])
    z = network.apply("Conv", z, network.weight(8, 4, 2, 1, 1), group=2)
    network.output(network.apply("MaxPool", y, kernel_shape=[3, 2, 2], strides=[2, 2, 2]))
    network.output(
        network.apply(
            "AveragePool", y, kernel_shape=[2, 3, 1], pads=[1, 1, 0, 0, 1, 0], count_include_pad=1
        )
    )
    network.output(
        network.apply("AveragePool", y, kernel_shape=[3, 2, 2], pads=[1] * 6, strides=[2, 1, 1])
    )
    network.output(network.apply("GlobalAveragePool", z))
    compiled = compile_for_cpu(network.model())
    assert_agrees(compiled, network)
    families = set(compiled.work)
    assert families >= {"convolution", "matmul", "depthwise", "max_pooling", "average_pooling"}


def test_volumes_of_an_open_batch_with_a_filter_per_channel(compile_for_cpu: Compile) -> None:
    network = Network()
    volume = network.input("N", 3, 4, 5, 6)
    network.output(network.apply("Conv", volume, network.weight(3, 1, 1, 3, 3), group=3))
    compiled = compile_for_cpu(network.model())
    assert "depthwise" in compiled.work
    for batch in (1, 3):
        assert_agrees(compiled, network, N=batch)


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_pooling_that_comes_before_any_convolution(
    compile_for_cpu: Compile, rank: int, operator: str
) -> None:
    # The pooling still lies channels first, the convolution behind it channels last.
    network = Network()
    image = network.input(1, 3, *[9] * rank)
    pooled = network.apply(operator, image, kernel_shape=[3] * rank, strides=[2] * rank)
    network.output(network.apply("Conv", pooled, network.weight(5, 3, *[2] * rank)))
    assert_agrees(compile_for_cpu(network.model()), network)


def test_normalization_along_channels_behind_a_convolution(compile_for_cpu: Compile) -> None:
    # A factor so large that a window along another axis shows.
    network = Network()
    image = network.apply("Conv", network.input(2, 4, 6, 7), network.weight(9, 4, 1, 1))
    network.output(network.apply("LRN", image, size=5, alpha=2.0, beta=0.75, bias=1.5))
    assert_agrees(compile_for_cpu(network.model()), network)


@pytest.mark.parametrize("axis", [1, 2])
def test_pooling_over_an_inserted_axis_behind_a_convolution(
    compile_for_cpu: Compile, axis: int
) -> None:
    network = Network()
    image = network.apply("Conv", network.input(1, 4, 6, 7), network.weight(8, 4, 1, 1))
    axes = network.constant(np.array([axis], np.int64))
    volume = network.apply("Unsqueeze", image, axes)
    network.output(network.apply("MaxPool", volume, kernel_shape=[1, 2, 3], strides=[1, 2, 1]))
    assert_agrees(compile_for_cpu(network.model()), network)
