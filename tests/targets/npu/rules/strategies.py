"""What is drawn at random for a rule: accelerators, grids, windows, weights, bounds."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from ingot.targets.npu.configuration import ACCELERATORS
from tests.targets.npu.integers import Grid, Weights
from tests.targets.npu.quantized import Graph

some = settings(max_examples=25, deadline=None)
accelerators = st.sampled_from(ACCELERATORS)
seeds = st.integers(0, 2**32 - 1)
# Relu, Relu6 and none of them, in real numbers.
bounds = st.sampled_from([(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.5, 2.0)])


@st.composite
def grids(draw, dtype: str = "int8") -> Grid:
    """int16 has no zero point."""
    scale = draw(st.floats(2**-8, 0.5, width=32))
    if dtype == "int16":
        return Grid(scale / 256, 0, dtype)
    return Grid(scale, draw(st.integers(-128, 127)), dtype)


@dataclasses.dataclass(frozen=True)
class Window:
    """A window over an image, at least one result of which there is; pads as in ONNX."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    dilations: tuple[int, int]


@st.composite
def windows(draw, dilated: bool = True, padded: bool = True) -> Window:
    kernel = draw(st.tuples(*[st.integers(1, 4)] * 2))
    # Ethos-U has no padding as large as the kernel.
    top, left, bottom, right = (
        draw(st.integers(0, kernel[axis] - 1)) if padded else 0 for axis in (0, 1, 0, 1)
    )
    dilations = draw(st.tuples(*[st.integers(1, 2)] * 2)) if dilated else (1, 1)
    size = tuple(
        max((kernel[axis] - 1) * dilations[axis] + 1 - before - after, 1) + draw(st.integers(0, 6))
        for axis, before, after in ((0, top, bottom), (1, left, right))
    )
    strides = draw(st.tuples(*[st.integers(1, 3)] * 2))
    return Window((size[0], size[1]), kernel, strides, (top, left, bottom, right), dilations)


def random_weights(graph: Graph, *shape: int) -> Weights:
    """Random int8 weights, output channels first, with scales that differ by much, and biases."""
    random = graph.random
    scales = np.exp(random.uniform(-6, -3, shape[0])).astype(np.float32)
    integers = random.integers(-127, 128, shape).astype(np.int8)
    return Weights(integers, scales, random.normal(size=shape[0]).astype(np.float32))


def grid_of_sums(weights: Weights, source: Grid, spread: float, zero_point: int) -> Grid:
    """A grid on which most sums are within the integers, and some are not."""
    terms = np.prod(weights.integers.shape[1:])
    typical = 74 * np.sqrt(terms) * float(np.mean(weights.scales)) * source.scale
    if source.dtype == "int16":
        return Grid(typical * 19000 * spread / 2**14, 0, "int16")
    return Grid(typical * 74 * spread / 64, zero_point)


def input_of(graph: Graph, shape: tuple[int, ...], grid: Grid) -> str:
    return graph.input(shape, grid.scale, grid.zero_point)


def bounded_output(graph: Graph, value: str, grid: Grid, limits: tuple[float, float]) -> None:
    """Makes a value an output, behind what keeps it between bounds."""
    low, high = limits
    if limits == (0.0, np.inf):
        value = graph.op("Relu", value)
    elif limits != (-np.inf, np.inf):
        constants = [graph.constant(np.array(bound, np.float32)) for bound in (low, high)]
        value = graph.op("Clip", value, *constants)
    graph.output(value, grid.scale, grid.zero_point)
