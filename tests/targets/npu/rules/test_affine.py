"""Products and sums with constants along the channels on the NPU, bit for bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.targets.npu.composites import find_composites
from tests.targets.npu.integers import Array, finished, per_channel
from tests.targets.npu.quantized import Graph, check_bits, compiled, executed, expected, ir_model
from tests.targets.npu.rules.strategies import (
    accelerators,
    bounded_output,
    bounds,
    grids,
    input_of,
    seeds,
    some,
)

shapes = st.one_of(
    st.tuples(st.just(1), st.integers(2, 20), st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 5), st.integers(2, 20)),
    st.tuples(st.just(1), st.integers(1, 5), st.integers(2, 20)),
)
chains = st.lists(st.sampled_from(["Mul", "Add", "Sub", "from"]), min_size=1, max_size=3)
pairs = st.one_of(st.tuples(grids(), grids()), st.tuples(grids("int16"), grids("int16")))


def channels_of(shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """How many channels there are, and the shape of a constant along them."""
    return (shape[1], (shape[1], 1, 1)) if len(shape) == 4 else (shape[-1], (shape[-1],))


@given(accelerators, chains, shapes, pairs, bounds, seeds)
@some
def test_chains(accelerator, chain, shape, pair, limits, seed):
    """``a x + b`` in units of ``s_x |a| / 64``, one of which is the bias's."""
    source, after = pair
    graph = Graph(seed, source.dtype)
    count, along = channels_of(shape)
    value = input_of(graph, shape, source)
    a, b = [Fraction(1)] * count, [Fraction(0)] * count
    for kind in chain:
        constants = (graph.random.normal(size=count) * 2).astype(np.float32)
        if kind == "Mul" and seed % 3 == 0:
            constants[0] = 0
        named = graph.constant(constants.reshape(along))
        exact = [Fraction(float(c)) for c in constants]
        if kind == "Mul":
            value = graph.op("Mul", named, value)
            a, b = ([x * c for x, c in zip(part, exact, strict=True)] for part in (a, b))
        elif kind == "Add":
            value = graph.op("Add", value, named)
            b = [x + c for x, c in zip(b, exact, strict=True)]
        elif kind == "Sub":
            value = graph.op("Sub", value, named)
            b = [x - c for x, c in zip(b, exact, strict=True)]
        else:
            value = graph.op("Sub", named, value)
            a, b = [-x for x in a], [c - x for x, c in zip(b, exact, strict=True)]
    bounded_output(graph, value, after, limits)
    units = [source.step * abs(x) / 64 if x else after.step / 2**15 for x in a]
    bias = [round(y / unit) for y, unit in zip(b, units, strict=True)]
    weights = [64 * (x > 0) - 64 * (x < 0) for x in a]

    def model(x: Array) -> Array:
        signed = source.units(x) * per_channel(weights, x.ndim)
        sums = signed + per_channel(bias, x.ndim)
        return finished(sums, [unit / after.step for unit in units], after, limits)

    check_bits(graph, accelerator, model)


@pytest.mark.parametrize("kind", ["Mul", "Div", "Add", "Sub"])
def test_the_result_is_that_of_onnx(kind):
    graph = Graph(3)
    constants = graph.random.uniform(0.5, 2.0, (1, 24, 1, 1)).astype(np.float32)
    y = graph.op(kind, graph.input((1, 24, 9, 9), 0.05, 7), graph.constant(constants))
    graph.output(y, 0.043, -3)
    inputs = graph.random_inputs()
    (found,) = executed(compiled(graph), inputs)
    difference = np.abs(found.astype(int) - expected(graph, inputs)[0])
    assert difference.max() <= 1
    assert difference.mean() <= (0.02 if kind in ("Add", "Sub") else 0.001)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((1, 8, 4, 4), "differs along more than the channels"), ((2, 8, 1, 1), "makes more of its")],
)
def test_other_constants_are_refused(shape, reason):
    graph = Graph(4)
    constants = graph.constant(np.ones(shape, np.float32))
    graph.output(graph.op("Mul", graph.input((1, 8, 4, 4)), constants), 0.05)
    found = find_composites(ir_model(graph.model()).graph)
    assert found.composites == []
    assert any(reason in entry.reason for entry in found.unfit), found.unfit
