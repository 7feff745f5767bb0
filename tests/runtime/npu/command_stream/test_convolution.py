"""Convolutions of the simulator against the TOSA reference model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ethosu.regor", reason="needs the extra: pip install ingot[npu]")

from tests.runtime.npu.command_stream.regions import check_equal
from tests.runtime.npu.command_stream.tosa import ACCELERATORS, Graph

accelerators = st.sampled_from(list(ACCELERATORS))


@given(
    accelerator=accelerators,
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    depth=st.integers(1, 70),
    channels=st.integers(1, 70),
    zero_points=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=20, deadline=None)
def test_pointwise(accelerator, size, depth, channels, zero_points, seed):
    random = np.random.default_rng(seed)
    graph = Graph()
    x = graph.input((1, *size, depth))
    weights = random.integers(-127, 128, (channels, 1, 1, depth), np.int8)
    y = graph.conv2d(
        x, weights, random.integers(-5000, 5000, channels, np.int32), zero_point=zero_points[0]
    )
    multipliers = random.integers(1 << 30, (1 << 31) - 1, channels)
    y = graph.rescale(
        y, multipliers, random.integers(37, 42, channels), output_zero_point=zero_points[1]
    )
    check_equal(graph.output(y), accelerator)
