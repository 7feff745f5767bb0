"""Squeeze-and-excitation: images scaled by channel inside of the convolution that reads them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.networks import Network, assert_agrees


def squeeze_and_excitation(
    batch: int | str,
    channels: int,
    filters: int,
    size: tuple[int, int],
    *,
    strides: tuple[int, int] = (1, 1),
    gate_first: bool = False,
    read_twice: bool = False,
) -> Network:
    network = Network()
    x = network.input(batch, channels, *size)
    x = network.apply("Conv", x, network.weight(channels, 1, 3, 3), group=channels, pads=[1] * 4)
    gate = network.apply("GlobalAveragePool", x)
    gate = network.apply("Relu", network.apply("Conv", gate, network.weight(4, channels, 1, 1)))
    gate = network.apply("Sigmoid", network.apply("Conv", gate, network.weight(channels, 4, 1, 1)))
    scaled = network.apply("Mul", *((gate, x) if gate_first else (x, gate)))
    weights, bias = network.weight(filters, channels, 1, 1), network.weight(filters, terms=1)
    network.output(network.apply("Conv", scaled, weights, bias, strides=strides))
    if read_twice:
        network.output(network.apply("Relu", scaled))
    return network


def is_scaled_inside(compiled: Compiled) -> bool:
    return any("gated_conv2d" in name for name in compiled.kernels)


@settings(max_examples=examples(15), deadline=None)
@given(
    batch=st.sampled_from([1, 1, 3]),
    channels=st.sampled_from([2, 3, 7, 8, 13, 16, 24, 33]),
    filters=st.sampled_from([1, 5, 8, 19, 40]),
    size=st.tuples(st.integers(1, 12), st.integers(2, 12)),
    gate_first=st.booleans(),
)
def test_agrees_with_onnx_runtime(
    compile_for_cpu: Compile,
    batch: int,
    channels: int,
    filters: int,
    size: tuple[int, int],
    gate_first: bool,
) -> None:
    network = squeeze_and_excitation(batch, channels, filters, size, gate_first=gate_first)
    compiled = compile_for_cpu(network.model())
    assert is_scaled_inside(compiled)
    assert_agrees(compiled, network)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(squeeze_and_excitation("N", 24, 16, (9, 9)), id="batch of any size"),
        pytest.param(
            squeeze_and_excitation(1, 24, 16, (9, 9), read_twice=True), id="product read elsewhere"
        ),
        pytest.param(
            squeeze_and_excitation(1, 24, 16, (9, 9), strides=(2, 2)), id="pixels skipped"
        ),
        pytest.param(squeeze_and_excitation(1, 24, 16, (1, 1)), id="one pixel"),
        pytest.param(squeeze_and_excitation(1, 512, 512, (7, 7)), id="weights beyond the cache"),
    ],
)
def test_is_left_apart_where_it_would_be_computed_twice_or_for_nothing(
    compile_for_cpu: Compile, network: Network
) -> None:
    compiled = compile_for_cpu(network.model())
    assert not is_scaled_inside(compiled)
    assert_agrees(compiled, network, N=2)


def test_threads_do_not_change_a_bit(compile_for_cpu: Compile) -> None:
    network = squeeze_and_excitation(2, 72, 40, (28, 28))
    compiled = compile_for_cpu(network.model())
    inputs = network.random_inputs().values()
    (expected,) = compiled(*inputs, threads=1)
    (actual,) = compiled(*inputs, threads=2)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("mcpu", ["x86-64", "haswell", "znver4", "generic"])
def test_every_processor_gets_code(compile_for_cpu: Compile, mcpu: str) -> None:
    network = squeeze_and_excitation(1, 44, 20, (14, 14))
    assert is_scaled_inside(compile_for_cpu(network.model(), mcpu))
