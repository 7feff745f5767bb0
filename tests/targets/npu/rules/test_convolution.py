"""A convolution on the NPU is exact sums and one RESCALE per channel, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from tests.targets.npu.integers import Array, Grid, finished, per_channel, window_sums
from tests.targets.npu.quantized import Graph, check_bits
from tests.targets.npu.rules.strategies import (
    Window,
    accelerators,
    bounded_output,
    bounds,
    grid_of_sums,
    grids,
    input_of,
    random_weights,
    seeds,
    some,
    windows,
)

spreads = st.floats(0.3, 4.0)
zero_points = st.integers(-128, 127)
# Channels in and out of a group, and groups.
dense = st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(1))
depthwise = st.tuples(st.just(1), st.integers(1, 2), st.integers(2, 24))
grouped = st.tuples(st.integers(2, 6), st.integers(1, 6), st.integers(2, 4))


def check(
    accelerator: str,
    window: Window,
    source: Grid,
    channels: tuple[int, int, int],
    limits: tuple[float, float],
    spread: float,
    zero_point: int,
    seed: int,
) -> None:
    """Checks a convolution of ``channels``: in and out of a group, and groups."""
    depth, out, group = channels
    graph = Graph(seed, source.dtype)
    weights = random_weights(graph, out * group, depth, *window.kernel)
    after = grid_of_sums(weights, source, spread, zero_point)
    arguments = {"strides": window.strides, "pads": window.pads, "dilations": window.dilations}

    x = input_of(graph, (1, depth * group, *window.size), source)
    w, b = graph.scaled(weights.integers, weights.scales), graph.constant(weights.bias)
    bounded_output(graph, graph.op("Conv", x, w, b, group=group, **arguments), after, limits)

    def model(x: Array) -> Array:
        sums = window_sums(source.units(x), weights.integers, group=group, **arguments)
        factors = [unit / after.step for unit in weights.factors(source)]
        return finished(sums + per_channel(weights.start(source), 4), factors, after, limits)

    check_bits(graph, accelerator, model)


@given(accelerators, windows(), grids(), dense, bounds, spreads, zero_points, seeds)
@some
def test_dense(accelerator, window, source, channels, limits, spread, zero_point, seed):
    check(accelerator, window, source, channels, limits, spread, zero_point, seed)


@given(accelerators, windows(), grids(), depthwise, bounds, spreads, zero_points, seeds)
@some
def test_depthwise(accelerator, window, source, channels, limits, spread, zero_point, seed):
    check(accelerator, window, source, channels, limits, spread, zero_point, seed)


@given(accelerators, windows(), grids(), grouped, bounds, spreads, zero_points, seeds)
@some
def test_grouped(accelerator, window, source, channels, limits, spread, zero_point, seed):
    check(accelerator, window, source, channels, limits, spread, zero_point, seed)


@given(accelerators, windows(), grids("int16"), st.one_of(dense, depthwise), bounds, spreads, seeds)
@some
def test_int16_activations(accelerator, window, source, channels, limits, spread, seed):
    """Sums of 48 bits, multiplied by 16."""
    check(accelerator, window, source, channels, limits, spread, 0, seed)


@given(accelerators, windows(), grids(), seeds)
@some
def test_without_an_output_grid_the_sums_are_given(accelerator, window, source, seed):
    graph = Graph(seed)
    weights = random_weights(graph, 7, 5, *window.kernel)
    arguments = {"strides": window.strides, "pads": window.pads, "dilations": window.dilations}
    x = input_of(graph, (1, 5, *window.size), source)
    w, b = graph.scaled(weights.integers, weights.scales), graph.constant(weights.bias)
    graph.result(graph.op("Conv", x, w, b, **arguments))

    def model(x: Array) -> Array:
        sums = window_sums(source.units(x), weights.integers, **arguments)
        return (sums + per_channel(weights.start(source), 4)).astype(np.int32)

    check_bits(graph, accelerator, model)
