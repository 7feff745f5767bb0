"""Pooling of the simulator against the TOSA reference model and plain integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.npu.command_stream.regions import check_equal
from tests.runtime.npu.command_stream.tosa import ACCELERATORS, Graph

accelerators = st.sampled_from(list(ACCELERATORS))
zero_points = st.integers(-128, 127)
some = settings(max_examples=25, deadline=None)


@st.composite
def geometries(draw, padded: bool):
    """Input height and width, kernel, stride and pad; a pad is smaller than the kernel."""
    kernel = draw(st.tuples(*[st.integers(1, 5)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 3)] * 2))
    area = draw(st.tuples(*[st.integers(1, 7)] * 2))
    pad, size = [], []
    for axis in range(2):
        most = kernel[axis] - 1 if padded else 0
        before, after = (draw(st.integers(0, most)) for _ in range(2))
        length = (area[axis] - 1) * stride[axis] + kernel[axis] - before - after
        if length < 1:
            before, after, length = 0, 0, (area[axis] - 1) * stride[axis] + kernel[axis]
        pad += [before, after]
        size.append(length)
    return tuple(size), kernel, stride, tuple(pad)


@given(accelerators, geometries(True), st.integers(1, 40), st.sampled_from(["int8", "int16"]))
@some
def test_max(accelerator, geometry, depth, dtype):
    size, kernel, stride, pad = geometry
    graph = Graph()
    x = graph.input((1, *size, depth), dtype)
    check_equal(graph.output(graph.max_pool(x, kernel, stride, pad)), accelerator)


@given(accelerators, geometries(False), st.integers(1, 40), st.tuples(zero_points, zero_points))
@some
def test_average(accelerator, geometry, depth, points):
    size, kernel, stride, pad = geometry
    graph = Graph()
    x = graph.input((1, *size, depth))
    check_equal(graph.output(graph.avg_pool(x, kernel, stride, pad, points)), accelerator)


@given(accelerators, geometries(True), st.integers(1, 40), st.tuples(zero_points, zero_points))
@some
def test_average_leaves_padding_out(accelerator, geometry, depth, points):
    size, kernel, stride, pad = geometry
    graph = Graph()
    x = graph.input((1, *size, depth))
    check_equal(graph.output(graph.avg_pool(x, kernel, stride, pad, points)), accelerator)


@given(accelerators, geometries(True), st.integers(1, 20))
@some
def test_average_of_16_bits(accelerator, geometry, depth):
    size, kernel, stride, pad = geometry
    graph = Graph()
    x = graph.input((1, *size, depth), "int16")
    check_equal(graph.output(graph.avg_pool(x, kernel, stride, pad)), accelerator)


@given(
    accelerators,
    st.tuples(*[st.integers(1, 12)] * 3),
    st.sampled_from([1, 2, 3]),
    zero_points,
)
@some
def test_sum_along_an_axis(accelerator, shape, axis, zero_point):
    graph = Graph()
    x = graph.input((1, *shape))
    wide = graph.rescale(x, 1 << 30, 30, input_zero_point=zero_point, dtype="int32")
    total = graph.reduce_sum(wide, axis)
    check_equal(graph.output(graph.rescale(total, 1518500250, 33)), accelerator)


@pytest.mark.parametrize("accelerator", ACCELERATORS)
def test_average_is_that_of_integers(accelerator):
    """No reference model: half away from zero of the elements that are there."""
    graph = Graph()
    x = graph.input((1, 6, 7, 4))
    graph.output(graph.avg_pool(x, (3, 3), (1, 1), (1, 1, 1, 1)))
    values = np.random.default_rng(2).integers(-128, 128, x.shape, np.int8)
    (actual,) = check_equal(graph, accelerator, [values])
    rows, columns = np.mgrid[0:6, 0:7]
    for y, x_, c in zip(rows.flat, columns.flat, np.arange(42) % 4, strict=True):
        under = values[0, max(y - 1, 0) : y + 2, max(x_ - 1, 0) : x_ + 2, c].astype(int)
        exact = under.sum() / under.size
        assert actual[0, y, x_, c] == np.trunc(exact + np.copysign(0.5, exact))
