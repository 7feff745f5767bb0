"""Integer grids: zero is exact, scales are normal numbers, rounding is to nearest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.quantization.grid import (
    activation_grid,
    bias_integers,
    round_to_grid,
    weight_scales,
    widen_for_bias,
)

reals = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize("signed", [False, True])
@given(first=reals, second=reals)
def test_an_activation_grid_holds_its_range_with_zero_exact(signed, first, second):
    low, high = sorted((first, second))
    grid = activation_grid(low, high, signed=signed)
    integers = np.iinfo(grid.dtype)
    assert grid.dtype == (np.int8 if signed else np.uint8)
    assert integers.min <= grid.zero_point <= integers.max
    scale = float(grid.scale)
    assert scale >= np.finfo(np.float32).tiny
    reach = (np.array([integers.min, integers.max]) - grid.zero_point) * scale
    slack = scale * 0.51 + abs(high - low) * 1e-6
    assert reach[0] - slack <= min(low, 0.0) and max(high, 0.0) <= reach[1] + slack


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.int8), (16, np.int16)])
@given(first=reals, second=reals)
def test_a_symmetric_grid_has_its_zero_in_the_middle(bits, dtype, first, second):
    grid = activation_grid(*sorted((first, second)), symmetric=True, bits=bits)
    assert grid.zero_point == 0
    assert grid.dtype == dtype
    reach = float(grid.scale) * np.iinfo(dtype).max
    assert reach >= max(abs(first), abs(second)) * (1 - 1e-6)


@pytest.mark.parametrize("value", [0.0, 1e-30, -1e-40])
def test_an_empty_range_still_has_a_normal_scale(value):
    assert activation_grid(value, 0.0).scale > np.finfo(np.float32).tiny


@given(st.integers(0, 10**6), st.sampled_from([4, 8]))
def test_weights_are_off_by_half_a_step_at_most(seed, bits):
    rows = np.random.default_rng(seed).normal(size=(3, 7)).astype(np.float32)
    scales = weight_scales(rows, bits=bits)
    integers = round_to_grid(rows, scales, bits=bits)
    assert np.abs(integers.astype(int)).max(axis=1).tolist() == [2 ** (bits - 1) - 1] * 3
    assert (np.abs(integers * scales[:, None] - rows) <= scales[:, None] * 0.5001).all()


def test_rows_of_zeros_take_the_scale_of_the_others():
    rows = np.array([[0, 0], [2, -4], [1e-42, 0]], np.float32)
    assert weight_scales(rows).tolist() == pytest.approx([4 / 127] * 3)


def test_weights_of_zeros_alone_have_a_normal_scale():
    assert weight_scales(np.zeros((2, 3), np.float32)).min() > 1e-3


def test_a_bias_beyond_int32_widens_the_scale_of_its_channel_alone():
    scales = np.array([1e-6, 1e-6], np.float32)
    bias = np.array([1.0, 1e6], np.float32)
    widened = widen_for_bias(scales, 1e-3, bias)
    assert widened[0] == scales[0]
    integers = bias_integers(bias, np.float32(1e-3) * widened)
    np.testing.assert_allclose(integers * (1e-3 * widened.astype(float)), bias, rtol=1e-6)
