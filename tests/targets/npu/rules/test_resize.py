"""Resized images on the NPU: ONNX's coordinates in integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from tests.targets.npu.integers import (
    Array,
    Grid,
    finished,
    interpolated,
    nearest,
    position,
    regridded,
    rescaled,
    taken,
)
from tests.targets.npu.quantized import Graph, check_bits
from tests.targets.npu.rules.strategies import (
    accelerators,
    bounded_output,
    bounds,
    grids,
    input_of,
    some,
)

modes = st.sampled_from(["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"])
roundings = st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
sizes = st.tuples(st.integers(1, 8), st.integers(1, 8))
u85 = st.sampled_from(["ethos-u85-128", "ethos-u85-512"])


def assume_steps(mode: str, before: tuple[int, int], size: tuple[int, int]) -> None:
    """Drops corners aligned with one pixel, which leaves no step between positions."""
    pairs = zip(before, size, strict=True)
    assume(mode != "align_corners" or not any(one == 1 < many for one, many in pairs))


def resized(
    graph: Graph, source: Grid, shape: tuple[int, ...], size: tuple[int, int], **how: str
) -> str:
    x = input_of(graph, shape, source)
    target = graph.constant(np.array([*shape[:2], *size]))
    return graph.op("Resize", x, "", "", target, **how)


@given(u85, sizes, sizes, st.integers(1, 12), modes, roundings, grids(), grids())
@some
def test_nearest(accelerator, before, size, depth, mode, rounding, source, after):
    assume_steps(mode, before, size)
    # TOSA has no positions that round to behind the last input.
    assume(
        all(
            nearest(position(mode, out - 1, one, out), rounding) < one
            for one, out in zip(before, size, strict=True)
        )
    )
    graph = Graph(12)
    y = resized(
        graph, source, (1, depth, *before), size,
        mode="nearest", coordinate_transformation_mode=mode, nearest_mode=rounding,
    )  # fmt: skip
    graph.output(y, after.scale, after.zero_point)

    def model(x: Array) -> Array:
        for axis in (2, 3):
            x = taken(x, axis, size[axis - 2], mode, rounding)
        return regridded(x, source, after)

    check_bits(graph, accelerator, model)


@given(
    st.sampled_from(["ethos-u55-32", "ethos-u55-128", "ethos-u65-256"]),
    sizes,
    st.sampled_from([2, 4, 8]),
    st.integers(1, 12),
    st.sampled_from([("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")]),
    grids(),
)
@some
def test_powers_of_two(accelerator, before, factor, depth, how, grid):
    """What all of Ethos-U have."""
    graph = Graph(13)
    size = (before[0] * factor, before[1] * factor)
    y = resized(
        graph, grid, (1, depth, *before), size,
        mode="nearest", coordinate_transformation_mode=how[0], nearest_mode=how[1],
    )  # fmt: skip
    graph.output(y, grid.scale, grid.zero_point)
    check_bits(graph, accelerator, lambda x: x.repeat(factor, 2).repeat(factor, 3))


@given(u85, sizes, sizes, st.integers(1, 12), modes, grids(), grids())
@some
def test_linear(accelerator, before, size, depth, mode, source, after):
    """Interpolation is exact in units of the coordinates' denominators, and rounded once."""
    assume_steps(mode, before, size)
    source = Grid(source.scale)
    graph = Graph(14)
    y = resized(
        graph, source, (1, depth, *before), size, mode="linear", coordinate_transformation_mode=mode
    )
    graph.output(y, after.scale, after.zero_point)

    def model(x: Array) -> Array:
        units, down = interpolated(source.units(x), 2, size[0], mode)
        units, across = interpolated(units, 3, size[1], mode)
        return after.saturated(rescaled(units, source.step / (down * across) / after.step))

    check_bits(graph, accelerator, model)


@given(
    accelerators,
    sizes,
    st.integers(1, 12),
    st.sampled_from(["half_pixel", "pytorch_half_pixel"]),
    grids(),
    grids(),
    bounds,
)
@some
def test_linear_doubling(accelerator, before, depth, mode, source, after, limits):
    """On all of Ethos-U, about any zero point."""
    graph = Graph(15)
    size = (2 * before[0], 2 * before[1])
    y = resized(
        graph, source, (1, depth, *before), size, mode="linear", coordinate_transformation_mode=mode
    )
    bounded_output(graph, y, after, limits)

    def model(x: Array) -> Array:
        units, _ = interpolated(source.units(x), 2, size[0], "half_pixel")
        units, _ = interpolated(units, 3, size[1], "half_pixel")
        return finished(units, source.step / 16 / after.step, after, limits)

    check_bits(graph, accelerator, model)
