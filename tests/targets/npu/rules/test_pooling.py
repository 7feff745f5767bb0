"""Pools of images on the NPU: the largest integer, or an exact sum and one RESCALE, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from tests.targets.npu.integers import (
    Array,
    Grid,
    clamped,
    finished,
    largest,
    regridded,
    window_sums,
)
from tests.targets.npu.quantized import Graph, check_bits
from tests.targets.npu.rules.strategies import (
    accelerators,
    bounded_output,
    bounds,
    grids,
    input_of,
    some,
    windows,
)

pairs = st.one_of(st.tuples(grids(), grids()), st.tuples(grids("int16"), grids("int16")))
channels = st.integers(1, 20)


@given(accelerators, windows(dilated=False), channels, pairs, st.booleans(), bounds)
@some
def test_maximum(accelerator, window, depth, pair, same, limits):
    source, after = (pair[0], pair[0]) if same else pair
    graph = Graph(2, source.dtype)
    x = input_of(graph, (1, depth, *window.size), source)
    y = graph.op("MaxPool", x, kernel_shape=window.kernel, strides=window.strides, pads=window.pads)
    bounded_output(graph, y, after, limits)

    def model(x: Array) -> Array:
        found = largest(x, window.kernel, window.strides, window.pads)
        return clamped(regridded(found, source, after), after, limits)

    check_bits(graph, accelerator, model)


def mean(
    x: Array,
    source: Grid,
    after: Grid,
    limits: tuple[float, float],
    kernel: tuple[int, int],
    **window: tuple[int, ...],
) -> Array:
    ones = np.ones((x.shape[1], 1, *kernel), np.int8)
    sums = window_sums(source.units(x), ones, group=x.shape[1], **window)
    factor = source.step / (kernel[0] * kernel[1]) / after.step
    return finished(sums, factor, after, limits)


@given(accelerators, windows(dilated=False), channels, pairs, bounds)
@some
def test_mean(accelerator, window, depth, pair, limits):
    """Padding counts."""
    source, after = pair
    graph = Graph(3, source.dtype)
    x = input_of(graph, (1, depth, *window.size), source)
    arguments = {"strides": window.strides, "pads": window.pads}
    y = graph.op(
        "AveragePool", x, kernel_shape=window.kernel, count_include_pad=1, **arguments
    )  # fmt: skip
    bounded_output(graph, y, after, limits)
    check_bits(
        graph, accelerator, lambda x: mean(x, source, after, limits, window.kernel, **arguments)
    )


@given(
    accelerators,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels,
    pairs,
    st.sampled_from(["GlobalAveragePool", "ReduceMean", "ReduceMean of rows"]),
)
@some
def test_mean_of_the_whole(accelerator, size, depth, pair, kind):
    source, after = pair
    after = dataclasses.replace(after, scale=after.scale / 8)
    graph = Graph(4, source.dtype)
    x = input_of(graph, (1, depth, *size), source)
    if kind == "GlobalAveragePool":
        y = graph.op(kind, x)
    else:
        axes = graph.constant(np.array([2, 3]))
        y = graph.op("ReduceMean", x, axes, keepdims=int(kind == "ReduceMean"))
    graph.output(y, after.scale, after.zero_point)

    def model(x: Array) -> Array:
        found = mean(x, source, after, (-np.inf, np.inf), size)
        return found[:, :, 0, 0] if kind == "ReduceMean of rows" else found

    check_bits(graph, accelerator, model)


@pytest.mark.parametrize("integers", ["int8", "int16"])
@pytest.mark.parametrize(
    ("size", "depth"),
    [((8, 8), 32), ((25, 5), 64), ((14, 14), 24), ((70, 2), 16), ((7, 7), 12)],
    ids=["one sum", "five sums", "seven sums", "too tall", "no whole micro-blocks"],
)
def test_mean_of_the_whole_by_how_it_is_summed(size, depth, integers):
    source, after = Grid(0.05, 0, integers), Grid(0.01, 0, integers)
    graph = Graph(5, integers)
    graph.output(graph.op("GlobalAveragePool", input_of(graph, (1, depth, *size), source)), 0.01)
    check_bits(graph, "ethos-u55-128", lambda x: mean(x, source, after, (-np.inf, np.inf), size))
