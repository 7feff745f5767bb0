"""Weights whose sums stay within 16 bits, whatever the activations are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.quantization.grid import round_to_grid, weight_scales
from ingot.passes.quantization.headroom import Headroom
from ingot.passes.quantization.linear import LinearLayer, linear_layers
from ingot.targets.cpu.kernels.words.dot import safe_depth
from tests.graphs import parse


def convolution(shape: tuple[int, int, int, int], group: int = 1, dilation: int = 1) -> LinearLayer:
    filters, channels, height, width = shape
    weights = np.zeros(shape, np.float32)
    model = parse(
        '<ir_version: 10, opset_import: ["":21]> '
        f"g (float[1, {channels * group}, 9, 9] x) => (float[a, b, c, d] y)"
        f" <float[{filters}, {channels}, {height}, {width}] w = "
        f"{{{', '.join(str(value) for value in weights.reshape(-1))}}}> "
        f"{{ y = Conv<group = {group}, dilations = [{dilation}, {dilation}]>(x, w) }}"
    )
    (layer,) = linear_layers(model.graph)
    return layer


def matrix(rows: int, columns: int) -> LinearLayer:
    zeros = ", ".join(["0"] * rows * columns)
    model = parse(
        '<ir_version: 10, opset_import: ["":21]> '
        f"g (float[1, {rows}] x) => (float[1, {columns}] y) "
        f"<float[{rows}, {columns}] w = {{{zeros}}}> {{ y = MatMul(x, w) }}"
    )
    (layer,) = linear_layers(model.graph)
    return layer


def as_the_kernel_goes(layer: LinearLayer, rows: np.ndarray) -> np.ndarray:
    """Weights [channels, inputs] as [taps along the height, reduction, channels]."""
    if layer.node.op_type != "Conv":
        taps = rows.T[np.newaxis]
    else:
        shape = layer.array().shape
        taps = rows.reshape(shape).transpose(2, 3, 1, 0).reshape(shape[2], -1, shape[0])
    return np.pad(taps, [(0, 0), (0, -taps.shape[1] % 4), (0, 0)]).astype(np.int8)


@pytest.mark.parametrize("terms", [2, 4])
@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(convolution((3, 8, 3, 3)), id="whole groups per tap"),
        pytest.param(convolution((2, 3, 5, 5)), id="groups across taps"),
        pytest.param(convolution((2, 10, 1, 1)), id="1 x 1"),
        pytest.param(matrix(13, 2), id="matrix"),
    ],
)
@given(seed=st.integers(0, 99))
def test_nearest_integers_at_the_least_scales_do_not_saturate(
    layer: LinearLayer, terms: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).standard_normal(layer.to_rows(layer.array()).shape)
    rows = rows.astype(np.float32)
    headroom = Headroom.of(layer, terms)  # type: ignore[arg-type]
    assert headroom is not None
    scales = np.maximum(weight_scales(rows), headroom.least_scales(rows)).astype(np.float32)
    integers = round_to_grid(rows, scales)
    assert headroom.is_kept(integers)
    # What the kernel asks for, from its own point of view.
    assert safe_depth(as_the_kernel_goes(layer, integers)) >= terms // 2


@given(seed=st.integers(0, 99))
def test_a_budget_keeps_any_order_of_rounding_safe(seed: int) -> None:
    generator = np.random.default_rng(seed)
    headroom = Headroom.of(matrix(24, 3), 4)
    assert headroom is not None
    budget = headroom.budget(1, 3)
    integers = np.zeros((3, 24))
    for column in generator.permutation(24):
        wanted = np.rint(generator.normal(0, 60, 3)).clip(-127, 127)
        integers[:, column] = budget.spend(np.array([column]), wanted[np.newaxis])[0]
        assert np.all(np.abs(integers[:, column]) <= np.abs(wanted))
    assert headroom.is_kept(integers)


def test_what_fits_is_not_changed() -> None:
    headroom = Headroom.of(matrix(8, 1), 4)
    assert headroom is not None
    budget = headroom.budget(1, 1)
    for column, value in enumerate((32.0, -32.0) * 4):
        assert budget.spend(np.array([column]), np.array([[value]])) == value


def test_depthwise_layers_and_exact_processors_need_none() -> None:
    assert Headroom.of(convolution((4, 1, 3, 3), group=4), 4) is None
    assert Headroom.of(matrix(8, 1), 1) is None


def test_groups_and_dilated_taps_begin_anew_per_tap() -> None:
    for layer in (convolution((2, 3, 1, 2), dilation=2), convolution((4, 3, 1, 2), group=2)):
        headroom = Headroom.of(layer, 2)
        assert headroom is not None
        first, second = headroom.sums.reshape(3, 2).T
        assert not set(first) & set(second)
