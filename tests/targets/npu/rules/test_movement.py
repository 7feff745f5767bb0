"""What moves integers on the NPU moves them all, and a change of grid is one RESCALE."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from tests.targets.npu.integers import Array, clamped, regridded
from tests.targets.npu.quantized import Graph, check_bits
from tests.targets.npu.rules.strategies import (
    accelerators,
    bounded_output,
    bounds,
    grids,
    input_of,
    some,
)

dtypes = st.sampled_from(["int8", "int16"])
shapes = st.one_of(*(st.tuples(st.just(1), *[st.integers(1, 8)] * rank) for rank in (1, 2, 3)))


@given(accelerators, dtypes.flatmap(lambda d: st.tuples(grids(d), grids(d))), shapes, bounds)
@some
def test_a_change_of_grid(accelerator, pair, shape, limits):
    source, after = pair
    assume(source != after)
    graph = Graph(5, source.dtype)
    x = input_of(graph, shape, source)
    bounded_output(graph, x, after, limits)
    check_bits(graph, accelerator, lambda x: clamped(regridded(x, source, after), after, limits))


@given(accelerators, dtypes.flatmap(grids), shapes, st.data())
@some
def test_transpose(accelerator, grid, shape, data):
    order = data.draw(st.permutations(range(1, len(shape))))
    graph = Graph(6, grid.dtype)
    y = graph.op("Transpose", input_of(graph, shape, grid), perm=[0, *order])
    graph.output(y, grid.scale, grid.zero_point)
    check_bits(graph, accelerator, lambda x: x.transpose(0, *order))


@given(accelerators, dtypes.flatmap(grids), shapes, shapes)
@some
def test_reshape(accelerator, grid, before, after):
    """To another shape whose last axis takes what is left."""
    wanted = (*(math.gcd(size, math.prod(before)) for size in after[1:-1]),)
    while math.prod(before) % math.prod(wanted):
        wanted = wanted[:-1]
    target = (1, *wanted, math.prod(before) // math.prod(wanted))
    graph = Graph(7, grid.dtype)
    x = input_of(graph, before, grid)
    y = graph.op("Reshape", x, graph.constant(np.array(target)))
    graph.output(y, grid.scale, grid.zero_point)
    check_bits(graph, accelerator, lambda x: x.reshape(target))


@given(accelerators, dtypes.flatmap(lambda d: st.tuples(grids(d), grids(d))), shapes, st.data())
@some
def test_slice(accelerator, pair, shape, data):
    source, after = pair
    starts = [data.draw(st.integers(0, size - 1)) for size in shape]
    ends = [
        data.draw(st.integers(start + 1, size)) for start, size in zip(starts, shape, strict=True)
    ]
    graph = Graph(8, source.dtype)
    x = input_of(graph, shape, source)
    y = graph.op("Slice", x, graph.constant(np.array(starts)), graph.constant(np.array(ends)))
    graph.output(y, after.scale, after.zero_point)
    where = tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))
    check_bits(graph, accelerator, lambda x: regridded(x[where], source, after))


@given(accelerators, dtypes.flatmap(grids), shapes, st.floats(-9.0, 9.0), st.data())
@some
def test_pad(accelerator, grid, shape, value, data):
    amounts = [(0, 0), *(data.draw(st.tuples(*[st.integers(0, 3)] * 2)) for _ in shape[1:])]
    graph = Graph(9, grid.dtype)
    flat = np.array([pair[i] for i in (0, 1) for pair in amounts])
    filled = graph.constant(np.array(value, np.float32))
    y = graph.op("Pad", input_of(graph, shape, grid), graph.constant(flat), filled)
    graph.output(y, grid.scale, grid.zero_point)
    check_bits(
        graph, accelerator, lambda x: np.pad(x, amounts, constant_values=grid.quantized(value))
    )


@given(
    accelerators,
    dtypes.flatmap(lambda d: st.tuples(st.lists(grids(d), min_size=2, max_size=3), grids(d))),
    shapes,
    st.data(),
)
@some
def test_concat(accelerator, found, shape, data):
    """Parts of several grids, each brought to the output's."""
    sources, after = found
    axis = data.draw(st.integers(1, len(shape) - 1))
    graph = Graph(10, after.dtype)
    parts = [
        input_of(graph, (*shape[:axis], data.draw(st.integers(1, 12)), *shape[axis + 1 :]), source)
        for source in sources
    ]
    graph.output(graph.op("Concat", *parts, axis=axis), after.scale, after.zero_point)

    def model(*parts: Array) -> Array:
        pairs = zip(parts, sources, strict=True)
        return np.concatenate([regridded(part, source, after) for part, source in pairs], axis)

    check_bits(graph, accelerator, model)


@given(
    accelerators, dtypes.flatmap(grids), shapes, st.lists(st.integers(1, 8), min_size=2, max_size=3)
)
@some
def test_split(accelerator, grid, shape, sizes):
    """The parts of a Split, put together in the other order."""
    axis = len(shape) - 1
    graph = Graph(11, grid.dtype)
    x = input_of(graph, (*shape[:-1], sum(sizes)), grid)
    lengths = graph.constant(np.array(sizes))
    parts = graph.op("Split", x, lengths, outputs=len(sizes), axis=axis)
    between = [graph.between(part, grid.scale, grid.zero_point) for part in parts]
    y = graph.op("Concat", *reversed(between), axis=axis)
    graph.output(y, grid.scale, grid.zero_point)

    def model(x: Array) -> Array:
        return np.concatenate(np.split(x, np.cumsum(sizes)[:-1], axis)[::-1], axis)

    check_bits(graph, accelerator, model)
