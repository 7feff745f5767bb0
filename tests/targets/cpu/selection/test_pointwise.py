"""Convolutions whose outputs are products of pixels in a row with a matrix are matmuls."""

from __future__ import annotations

import dataclasses

import pytest

from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees


def signal_network(
    batch: int, channels: int, length: int, filters: int, taps: int, **attributes: object
) -> Network:
    network = Network()
    signal = network.input(batch, channels, length)
    weights = network.weight(filters, channels, taps)
    convolved = network.apply("Conv", signal, weights, network.weight(filters), **attributes)
    network.output(network.apply("Relu", convolved))
    return network


@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        pytest.param((1, 8, 40, 24, 3), 1, id="rows overlap by two pixels"),
        pytest.param((2, 8, 41, 24, 3), 2, id="rows overlap by one, and a pixel is left over"),
        pytest.param((1, 8, 40, 24, 4), 4, id="rows lie behind one another"),
        pytest.param((3, 5, 40, 17, 2), 3, id="rows leave pixels out"),
        pytest.param((1, 512, 35, 130, 3), 2, id="rows a cache way apart are copied"),
        pytest.param((1, 6, 5, 9, 5), 1, id="one row"),
    ],
)
def test_signals_are_matrices_as_they_lie(
    compile_for_cpu: Compile, shape: tuple[int, int, int, int, int], stride: int
) -> None:
    network = signal_network(*shape, strides=[stride])
    compiled = compile_for_cpu(network.model())
    assert "matmul" in compiled.kernels.values()
    assert "convolution" not in compiled.kernels.values()
    assert_agrees(compiled, network)


def test_images_too(compile_for_cpu: Compile) -> None:
    network = Network()
    image = network.input(2, 6, 9, 20)
    network.output(network.apply("Conv", image, network.weight(12, 6, 1, 5), strides=[2, 3]))
    compiled = compile_for_cpu(network.model())
    assert "matmul" in compiled.kernels.values()
    assert_agrees(compiled, network)


@pytest.mark.parametrize("pads", [[1, 1], [0, 3], [2, 0]])
def test_a_long_padded_signal_is_copied_with_its_padding(
    compile_for_cpu: Compile, pads: list[int]
) -> None:
    cpu = describe_cpu("native", threads=2)
    small = dataclasses.replace(cpu, core=dataclasses.replace(cpu.core, l2_bytes=4096))
    network = signal_network(2, 16, 60, 128, 3, pads=pads, strides=[2])
    compiled = compile_for_cpu(network.model(), small)
    assert "matmul" in compiled.kernels.values()
    assert_agrees(compiled, network)
    # A short one stays where it is.
    kept = compile_for_cpu(network.model(), cpu)
    assert "convolution" in kept.kernels.values()
    assert_agrees(kept, network)


def test_neighbours_apart_are_no_row(compile_for_cpu: Compile) -> None:
    network = signal_network(1, 8, 40, 24, 3, dilations=[2])
    compiled = compile_for_cpu(network.model())
    assert "convolution" in compiled.kernels.values()
    assert_agrees(compiled, network)
