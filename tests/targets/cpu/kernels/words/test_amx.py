"""Sums in AMX's tiles are those of integers, wherever rows and the reduction end."""

from __future__ import annotations

import pytest

from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.kernels.words.amx import groups_of_step, tile_panels
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.kernels.words.test_matmul import Product
from tests.targets.cpu.processors import AVX512
from tests.targets.cpu.quantized_networks import Layer, assert_same_bits

pytestmark = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's processors")

TILES = "sapphirerapids"


def multiplies_in_tiles(compiled: Compiled) -> bool:
    return "tdpbusd" in compiled.assembly.split()


@pytest.mark.parametrize(
    ("groups", "of_step"),
    [
        pytest.param(1, 1, id="one"),
        pytest.param(16, 16, id="a whole tile"),
        pytest.param(18, 9, id="two equal parts"),
        pytest.param(168, 14, id="one step more than the fewest"),
        pytest.param(17, 0, id="a prime"),
    ],
)
def test_steps_divide_the_reduction(groups: int, of_step: int) -> None:
    assert groups_of_step(groups, 100, describe_cpu(TILES, threads=2)) == of_step


def test_few_rows_and_other_processors_take_vectors() -> None:
    cpu = describe_cpu(TILES, threads=2)
    assert groups_of_step(16, 7, cpu) == 0
    assert groups_of_step(16, None, cpu) == 16
    assert groups_of_step(16, 100, AVX512) == 0


def test_a_panel_is_two_tiles_at_most() -> None:
    cpu = describe_cpu(TILES, threads=2)
    assert [tile_panels(columns, cpu).width for columns in (3, 16, 17, 100)] == [16, 16, 32, 32]


@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        pytest.param(16, 64, 16, id="one tile"),
        pytest.param(9, 12, 5, id="less than one in each direction"),
        pytest.param(33, 128, 33, id="one more row and column than two"),
        pytest.param(49, 672, 40, id="the last begins within the one before"),
        pytest.param(70, 22, 20, id="rows of no whole number of words"),
    ],
)
def test_matmul(compile_for_cpu: Compile, rows: int, depth: int, columns: int) -> None:
    network = Product((rows,), depth, columns).network()
    compiled = compile_for_cpu(network.model(), TILES)
    assert multiplies_in_tiles(compiled)
    assert_same_bits(compiled, network)


@pytest.mark.parametrize("depth", [20, 22])
def test_any_number_of_rows(compile_for_cpu: Compile, depth: int) -> None:
    network = Product(("N",), depth, 50).network()
    compiled = compile_for_cpu(network.model(), TILES)
    assert multiplies_in_tiles(compiled)
    for rows in (1, 15, 16, 17, 32, 33, 130, 300):  # the last two are several tasks
        assert_same_bits(compiled, network, N=rows)


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(Layer((9, 7), (3, 3), 8, 40, pads=(1, 1, 1, 1)), id="on to the next row"),
        pytest.param(Layer((4, 40), (3, 3), 8, 20, pads=(1, 1, 1, 1)), id="row by row"),
        pytest.param(
            Layer((9, 34), (3, 3), 16, 33, strides=(2, 2), pads=(1, 1, 1, 1)),
            id="every other pixel",
        ),
        pytest.param(Layer((17, 19), (7, 7), 3, 16, strides=(2, 2)), id="three channels"),
        pytest.param(Layer((8, 10), (1, 1), 24, 48, strides=(2, 2)), id="1x1, every other pixel"),
        pytest.param(Layer((6, 9), (3, 3), 8, 20, batch="N", pads=(1, 1, 1, 1)), id="any batch"),
    ],
)
def test_convolution(compile_for_cpu: Compile, layer: Layer) -> None:
    network = layer.network()
    compiled = compile_for_cpu(network.model(), TILES)
    assert multiplies_in_tiles(compiled)
    for size in (1, 3) if layer.batch == "N" else (1,):
        assert_same_bits(compiled, network, N=size)
