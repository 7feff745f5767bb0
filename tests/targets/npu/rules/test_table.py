"""Functions of one tensor on the NPU: nearest to the function's real value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from tests.targets.npu.integers import Array, Grid
from tests.targets.npu.quantized import SIMULATED, Graph, compiled, executed
from tests.targets.npu.rules.strategies import accelerators, grids, input_of, seeds, some

_ERF = np.vectorize(math.erf)
FUNCTIONS = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "HardSigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "LeakyRelu": lambda x: np.where(x < 0, 0.01 * x, x),
    "Elu": lambda x: np.where(x < 0, np.expm1(x), x),
    "Gelu": lambda x: x * 0.5 * (1 + _ERF(x / math.sqrt(2))),
    "Softplus": lambda x: np.logaddexp(0, x),
    "Abs": np.abs,
}
functions = st.sampled_from(list(FUNCTIONS))
shapes = st.tuples(st.just(1), *[st.integers(1, 12)] * 3)


def fitting(kind: str, source: Grid, dtype: str) -> Grid:
    """A grid about zero that all results are on."""
    limits = np.iinfo(source.dtype)
    ends = np.arange(limits.min, limits.max + 1).astype(source.dtype)
    real = FUNCTIONS[kind](source.units(ends) * float(source.step))
    return Grid(float(np.abs(real).max()) / np.iinfo(dtype).max, 0, dtype)


def distances(accelerator, kind, shape, source, after, seed) -> Array:
    """How far the NPU's integers are from the real results, in the output's units."""
    graph = Graph(seed, source.dtype)
    y = graph.op(kind, input_of(graph, shape, source))
    graph.output(y, after.scale, after.zero_point)
    inputs = graph.random_inputs()
    region = compiled(graph, accelerator)
    (found,) = executed(region, inputs)
    if accelerator in SIMULATED:
        np.testing.assert_array_equal(executed(region, inputs, "command-stream")[0], found)
    real = FUNCTIONS[kind](source.units(inputs[0]) * float(source.step)) / float(after.step)
    limits = np.iinfo(after.dtype)
    return np.abs(found - np.clip(real + after.zero_point, limits.min, limits.max))


@given(accelerators, functions, shapes, grids(), grids(), seeds)
@some
def test_8_bits_are_the_nearest_integers(accelerator, kind, shape, source, after, seed):
    """Every result is in the table; what of a half is missing is float32's."""
    assert distances(accelerator, kind, shape, source, after, seed).max() < 0.5 + 1e-3


@given(accelerators, functions, shapes, grids("int16"), seeds)
@some
def test_16_bits_are_interpolated(accelerator, kind, shape, source, seed):
    """The second derivatives are at most 1, but at corners."""
    after = fitting(kind, source, "int16")
    step = 128 * float(source.step)
    cornered = kind in ("LeakyRelu", "Abs", "HardSigmoid", "HardSwish")
    bend = step / 2 if cornered else step**2 / 8
    found = distances(accelerator, kind, shape, source, after, seed).max()
    assert found < 1 + 1e-3 + bend / float(after.step)
