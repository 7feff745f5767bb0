"""Convolutions of the simulator against the TOSA reference model and plain integer sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.npu.command_stream.regions import check_equal
from tests.runtime.npu.command_stream.tosa import ACCELERATORS, Graph, Value

accelerators = st.sampled_from(list(ACCELERATORS))
seeds = st.integers(0, 2**32 - 1)
zero_points = st.integers(-128, 127)
pads = st.tuples(*[st.integers(0, 2)] * 4)
some = settings(max_examples=25, deadline=None)


def input_size(output: int, kernel: int, stride: int, dilation: int, pad: tuple[int, int]) -> int:
    """The one input size that leaves nothing over, which TOSA asks for."""
    return max(1, (output - 1) * stride + (kernel - 1) * dilation + 1 - sum(pad))


@st.composite
def geometries(draw, largest_kernel: int = 5):
    """Input height and width, kernel, stride, dilation and pad of a convolution."""
    kernel = draw(st.tuples(*[st.integers(1, largest_kernel)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 3)] * 2))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * 2))
    area = draw(st.tuples(*[st.integers(1, 8)] * 2))
    pad = draw(pads)
    size = tuple(
        input_size(area[axis], kernel[axis], stride[axis], dilation[axis], pad[2 * axis :][:2])
        for axis in range(2)
    )
    spans = ((kernel[axis] - 1) * dilation[axis] + 1 for axis in range(2))
    for axis, span in enumerate(spans):
        over = size[axis] + sum(pad[2 * axis :][:2]) - span
        if over < 0 or over % stride[axis]:
            pad = (0,) * 4
            size = tuple(
                input_size(area[axis], kernel[axis], stride[axis], dilation[axis], (0, 0))
                for axis in range(2)
            )
            break
    return size, kernel, stride, dilation, pad


def narrowed(graph: Graph, sums: Value, random: np.random.Generator, spread: float) -> Value:
    """Sums rescaled per channel so that most results are within the range of the input's dtype."""
    channels = sums.shape[3]
    if sums.dtype == "int32":
        multipliers = random.integers(1 << 30, (1 << 31) - 1, channels)
        shift = int(np.clip(round(31 - np.log2(60 / spread)), 2, 62))
        shifts = np.clip(shift + random.integers(-1, 2, channels), 2, 62)
        point = int(random.integers(-128, 128))
        return graph.rescale(sums, multipliers, shifts, output_zero_point=point)
    multipliers = random.integers(1 << 14, (1 << 15) - 1, channels)
    shift = int(np.clip(round(15 - np.log2(15000 / spread)), 2, 62))
    return graph.rescale(sums, multipliers, np.full(channels, shift), dtype="int16", scale32=False)


def weights_of(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.integers(-127, 128, shape, np.int8)


def check_sums(
    accelerator: str,
    operator: str,
    shape: tuple[int, ...],
    weights_shape: tuple[int, ...],
    seed: int,
    *,
    wide: bool = False,
    **window: Any,
) -> None:
    """Random weights' sums, scaled back, are the reference model's; int16 has no zero point."""
    random = np.random.default_rng(seed)
    graph = Graph()
    x = graph.input(shape, "int16" if wide else "int8")
    if operator == "depthwise":
        channels, terms = int(np.prod(weights_shape[2:])), int(np.prod(weights_shape[:2]))
    else:
        channels, terms = weights_shape[0], int(np.prod(weights_shape[1:]))
    largest = 1 << 30 if wide else 5000
    bias = random.integers(-largest, largest, channels, np.int64 if wide else np.int32)
    if wide:
        window["zero_point"] = 0
    sums = getattr(graph, operator)(x, weights_of(random, *weights_shape), bias, **window)
    spread = (19000 if wide else 75) * 75 * np.sqrt(terms)
    check_equal(graph.output(narrowed(graph, sums, random, spread)), accelerator)


@given(
    accelerators,
    geometries(),
    st.integers(1, 40),
    st.integers(1, 40),
    zero_points,
    st.booleans(),
    seeds,
)
@settings(max_examples=50, deadline=None)
def test_dense(accelerator, geometry, depth, channels, zero_point, wide, seed):
    size, kernel, stride, dilation, pad = geometry
    check_sums(
        accelerator, "conv2d", (1, *size, depth), (channels, *kernel, depth), seed,
        wide=wide, zero_point=zero_point, pad=pad, stride=stride, dilation=dilation,
    )  # fmt: skip


@given(
    accelerators,
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 150),
    st.integers(1, 150),
    zero_points,
    seeds,
)
@some
def test_pointwise(accelerator, size, depth, channels, zero_point, seed):
    shape = (channels, 1, 1, depth)
    check_sums(accelerator, "conv2d", (1, *size, depth), shape, seed, zero_point=zero_point)


@given(
    accelerators,
    geometries(),
    st.integers(1, 40),
    st.integers(1, 2),
    zero_points,
    st.booleans(),
    seeds,
)
@some
def test_depthwise(accelerator, geometry, channels, multiplier, zero_point, wide, seed):
    size, kernel, stride, dilation, pad = geometry
    check_sums(
        accelerator, "depthwise", (1, *size, channels), (*kernel, channels, multiplier), seed,
        wide=wide, zero_point=zero_point, pad=pad, stride=stride, dilation=dilation,
    )  # fmt: skip


@given(
    accelerators,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(2, 4), st.integers(2, 4)),
    st.sampled_from([(1, 1), (2, 2)]),
    st.tuples(*[st.integers(-1, 0)] * 4),
    st.integers(1, 20),
    st.integers(1, 20),
    zero_points,
    seeds,
)
@some
def test_transposed(accelerator, size, kernel, stride, pad, depth, channels, zero_point, seed):
    check_sums(
        accelerator, "transpose_conv2d", (1, *size, depth), (channels, *kernel, depth), seed,
        zero_point=zero_point, pad=pad, stride=stride,
    )  # fmt: skip


@pytest.mark.parametrize("accelerator", ACCELERATORS)
@pytest.mark.parametrize("kernel", [(1, 12), (10, 1), (9, 11)])
def test_kernels_of_several_parts(accelerator, kernel):
    random = np.random.default_rng(0)
    graph = Graph()
    x = graph.input((1, 14, 15, 5))
    sums = graph.conv2d(x, weights_of(random, 9, *kernel, 5), np.arange(9, dtype=np.int32))
    spread = 75 * 75 * np.sqrt(5 * kernel[0] * kernel[1])
    check_equal(graph.output(narrowed(graph, sums, random, spread)), accelerator)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_sums_are_those_of_integers(accelerator):
    """No reference model: the sums by NumPy's own convolution of integers."""
    random = np.random.default_rng(1)
    weights = weights_of(random, 7, 3, 3, 6)
    bias = random.integers(-5000, 5000, 7, np.int32)
    graph = Graph()
    x = graph.input((1, 8, 9, 6))
    given_input = random.integers(-128, 128, x.shape, np.int8)
    graph.output(graph.conv2d(x, weights, bias, zero_point=11))
    (actual,) = check_equal(graph, accelerator, [given_input])
    views = np.lib.stride_tricks.sliding_window_view(
        given_input[0].astype(int) - 11, (3, 3), (0, 1)
    )
    expected = np.einsum("yxcij,oijc->yxo", views, weights.astype(int)) + bias
    np.testing.assert_array_equal(actual[0], expected)
