"""Rows times constant weights on the NPU are exact sums and one RESCALE per column, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from tests.targets.npu.integers import Array, finished
from tests.targets.npu.quantized import Graph, check_bits
from tests.targets.npu.rules.strategies import (
    accelerators,
    bounded_output,
    bounds,
    grid_of_sums,
    grids,
    input_of,
    random_weights,
    seeds,
    some,
)


@given(
    accelerators,
    st.sampled_from(["Gemm", "Gemm of columns", "MatMul"]),
    st.one_of(grids(), grids("int16")),
    st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([(), (1,), (3,)]),
    bounds,
    st.floats(0.3, 4.0),
    st.integers(-128, 127),
    seeds,
)
@some
def test_rows(accelerator, kind, source, sizes, batch, limits, spread, zero_point, seed):
    rows, inner, columns = sizes
    graph = Graph(seed, source.dtype)
    weights = random_weights(graph, columns, inner)
    after = grid_of_sums(weights, source, spread, zero_point)
    shape = (*batch, rows, inner) if kind == "MatMul" else (rows, inner)
    x, bias = input_of(graph, shape, source), graph.constant(weights.bias)
    if kind == "Gemm of columns":
        y = graph.op("Gemm", x, graph.scaled(weights.integers, weights.scales), bias, transB=1)
    else:
        turned = graph.scaled(np.ascontiguousarray(weights.integers.T), weights.scales, 1)
        if kind == "Gemm":
            y = graph.op("Gemm", x, turned, bias)
        else:
            y = graph.op("Add", graph.op("MatMul", x, turned), bias)
    bounded_output(graph, y, after, limits)

    def model(x: Array) -> Array:
        sums = source.units(x) @ weights.integers.T.astype(np.int64) + weights.start(source)
        return finished(
            sums, [unit / after.step for unit in weights.factors(source)], after, limits
        )

    check_bits(graph, accelerator, model)
