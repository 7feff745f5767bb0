"""Sums, differences and products of two activations on the NPU, bit for bit."""

from __future__ import annotations

import dataclasses
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from tests.targets.npu.integers import Array, Grid, add_or_subtract, clamped, product
from tests.targets.npu.quantized import Graph, check_bits, compiled
from tests.targets.npu.rules.strategies import (
    accelerators,
    bounded_output,
    bounds,
    grids,
    input_of,
    some,
)

operators = st.sampled_from([("Add", operator.add), ("Sub", operator.sub)])
pairs = st.one_of(st.tuples(*[grids()] * 3), st.tuples(*[grids("int16")] * 3))


@st.composite
def shapes(draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes of which one broadcasts to the other, in either order."""
    rank = draw(st.sampled_from([2, 3, 4]))
    shape = (1, *draw(st.tuples(*[st.integers(1, 12)] * (rank - 1))))
    kept = draw(st.tuples(*[st.booleans()] * rank))
    other = tuple(size if keep else 1 for size, keep in zip(shape, kept, strict=True))
    return (shape, other) if draw(st.booleans()) else (other, shape)


def graph_of(
    kind: str,
    pair: tuple[tuple[int, ...], tuple[int, ...]],
    sources: tuple[Grid, Grid],
    after: Grid,
    limits: tuple[float, float],
) -> Graph:
    graph = Graph(1, after.dtype)
    x, y = (input_of(graph, shape, grid) for shape, grid in zip(pair, sources, strict=True))
    bounded_output(graph, graph.op(kind, x, y), after, limits)
    return graph


@given(accelerators, operators, shapes(), pairs, bounds)
@some
def test_sums_of_one_grid(accelerator, kind, pair, found, limits):
    """One scale; the zero points differ."""
    name, function = kind
    first, second, after = found
    sources = (first, dataclasses.replace(second, scale=first.scale))

    def model(x: Array, y: Array) -> Array:
        return clamped(add_or_subtract(function, (x, y), sources, after), after, limits)

    check_bits(graph_of(name, pair, sources, after, limits), accelerator, model)


@given(accelerators, operators, shapes(), pairs, bounds)
@some
def test_sums_of_two_grids(accelerator, kind, pair, found, limits):
    name, function = kind
    *sources, after = found

    def model(x: Array, y: Array) -> Array:
        return clamped(add_or_subtract(function, (x, y), tuple(sources), after), after, limits)

    check_bits(graph_of(name, pair, tuple(sources), after, limits), accelerator, model)


@given(accelerators, shapes(), pairs, st.floats(1.0, 100.0), bounds)
@some
def test_products(accelerator, pair, found, spread, limits):
    *sources, after = found
    largest = 2**7 if after.dtype == "int8" else 2**15
    scale = sources[0].scale * sources[1].scale * largest / spread
    after = dataclasses.replace(after, scale=scale)

    def model(x: Array, y: Array) -> Array:
        return clamped(product((x, y), tuple(sources), after), after, limits)

    check_bits(graph_of("Mul", pair, tuple(sources), after, limits), accelerator, model)


@pytest.mark.parametrize("kind", ["Add", "Mul"])
def test_cycles_do_not_depend_on_the_order_of_operands(kind):
    """On an NPU that makes the operator the end of what computes the first operand."""
    found = []
    for small_first in (False, True):
        graph = Graph(6)
        x = graph.between(graph.op("Relu", graph.input((1, 16, 32, 32))))
        large = graph.op("Conv", x, graph.weights(32, 16, 3, 3), pads=[1] * 4, strides=[2, 2])
        small = graph.op("Conv", x, graph.weights(32, 16, 1, 1), strides=[2, 2])
        operands = [graph.between(large), graph.between(small)]
        graph.output(graph.op(kind, *(reversed(operands) if small_first else operands)))
        found.append(compiled(graph, "ethos-u85-256").estimate.cycles)
    assert found[0] == found[1]
