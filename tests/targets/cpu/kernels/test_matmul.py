"""Matmul with constant weights: what ONNX Runtime computes, whatever the shape and the epilogue."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.runtime.cpu_features import machine_architecture
from tests.examples import examples
from tests.targets.cpu.assembly import accumulating_loops
from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.epilogues import EPILOGUES, apply_epilogue
from tests.targets.cpu.networks import Network, assert_agrees, assert_same_bits_on_threads, normal

X86 = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's registers")


def product(*leading: int | str, depth: int, columns: int) -> Network:
    """A network of one matmul."""
    network = Network()
    rows, weights = network.input(*leading, depth), network.weight(depth, columns, terms=depth)
    network.output(network.apply("MatMul", rows, weights))
    return network


def assert_one_kernel(compiled: Compiled) -> None:
    """Everything is one matmul of Ingot's own: nothing stays as plain loops."""
    assert list(compiled.kernels.values()) == ["matmul"]


# Each example is a compilation.
@settings(max_examples=examples(12))
@given(
    leading=st.lists(st.sampled_from([1, 2, 3, 7, 13, 40, "N"]), min_size=1, max_size=4),
    depth=st.sampled_from([1, 2, 8, 17, 33]),
    columns=st.sampled_from([1, 3, 8, 10, 17, 33, 70]),
)
def test_any_shape(
    compile_for_cpu: Compile, leading: list[int | str], depth: int, columns: int
) -> None:
    network = product(*leading, depth=depth, columns=columns)
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    for size in (1, 3) if "N" in leading else (1,):
        assert_agrees(compiled, network, N=size)


@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        pytest.param(1, 256, 1000, id="one row: GEMV, several panels and a narrower last one"),
        pytest.param(1, 1, 1, id="one element"),
        pytest.param(30, 19, 1, id="one column"),
        pytest.param(30, 1, 30, id="depth one"),
        pytest.param(128, 96, 200, id="tiles share the next panel's weights, two threads"),
        pytest.param(43, 1024, 160, id="rows a multiple of a cache way apart are copied"),
        pytest.param(401, 2, 8, id="more tiles than share a panel's weights"),
        pytest.param(97, 130, 24, id="a depth that shares do not divide"),
    ],
)
def test_edges(compile_for_cpu: Compile, rows: int, depth: int, columns: int) -> None:
    network = product(rows, depth=depth, columns=columns)
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    assert_agrees(compiled, network)


def test_any_number_of_rows_with_one_compilation(compile_for_cpu: Compile) -> None:
    # Every remainder of the tile's height, no full tile, and more than one block of full tiles.
    network = product("N", "S", depth=20, columns=50)
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    for rows in range(1, 41):
        assert_agrees(compiled, network, N=1, S=rows)
    assert_agrees(compiled, network, N=5, S=101)


def test_an_open_number_of_rows_a_cache_way_apart(compile_for_cpu: Compile) -> None:
    # They are copied, a block of tiles at a time.
    network = product("N", depth=1024, columns=300)
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    for rows in (1, 13, 14, 15, 140, 321):
        assert_agrees(compiled, network, N=rows)


def test_sums_of_dimensions(compile_for_cpu: Compile) -> None:
    # The number of rows is no dimension of an input, but computed from one.
    network = Network()
    x, y = network.input("N", 12), network.input("N", 12)
    joined = network.apply("Concat", x, y, axis=0)
    network.output(network.apply("MatMul", joined, network.weight(12, 20, terms=12)))
    compiled = compile_for_cpu(network.model())
    assert "matmul" in compiled.kernels.values()
    for rows in (1, 8):
        assert_agrees(compiled, network, N=rows)


@pytest.mark.parametrize("transposed", [False, True])
def test_gemm(compile_for_cpu: Compile, transposed: bool) -> None:
    network = Network()
    x = network.input("N", 33)
    shape = (10, 33) if transposed else (33, 10)
    weights = network.weight(*shape, terms=33)
    bias = network.constant(normal(10, seed=5))
    network.output(network.apply("Gemm", x, weights, bias, transB=int(transposed)))
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    assert_agrees(compiled, network, N=3)


@pytest.mark.parametrize("rows", [7, "N"], ids=["known rows", "unknown rows"])
def test_fused_epilogues(compile_for_cpu: Compile, rows: int | str) -> None:
    # 19 columns leave a scalar tail behind whole vectors. One model, a kernel per epilogue.
    network = Network()
    for kind in EPILOGUES:
        x, weights = network.input(2, rows, 12), network.weight(12, 19, terms=12)
        y = network.apply("MatMul", x, weights)
        network.output(apply_epilogue(network, kind, y, (2, rows, 19), axis=2))
    compiled = compile_for_cpu(network.model())
    assert list(compiled.kernels.values()) == ["matmul"] * len(EPILOGUES)
    assert_agrees(compiled, network, N=9)


def test_epilogues_of_booleans_and_integers(compile_for_cpu: Compile) -> None:
    network = Network()

    def constant(value: float, dtype: str = "float32") -> str:
        return network.constant(np.array(value, dtype))

    def result() -> tuple[str, str]:
        x = network.input(5, 12)
        y = network.apply("MatMul", x, network.weight(12, 19, terms=12))
        return y, network.apply("Greater", y, constant(0.1))

    _, positive = result()
    network.output(positive)
    _, positive = result()
    network.output(network.apply("Not", positive))
    y, positive = result()
    chosen = network.apply("Where", positive, y, constant(0.5))
    network.output(network.apply("Add", chosen, network.apply("Cast", positive, to=1)))
    y, _ = result()
    whole = network.apply("Mod", network.apply("Cast", y, to=6), constant(5, "int32"))
    network.output(network.apply("Mul", whole, whole))
    y, _ = result()
    scale, zero = constant(0.25), constant(3, "int8")
    quantized = network.apply("QuantizeLinear", y, scale, zero)
    network.output(network.apply("DequantizeLinear", quantized, scale, zero))
    compiled = compile_for_cpu(network.model())
    # What is quantized is stored so; the output's dequantization is a kernel of its own.
    assert sorted(compiled.kernels.values()) == ["loops"] + ["matmul"] * 5
    assert_agrees(compiled, network)


@dataclasses.dataclass(frozen=True)
class Pointwise:
    """A 1 x 1 convolution."""

    batch: int | str
    channels: int
    size: tuple[int, int]
    filters: int
    strides: tuple[int, int]


@settings(max_examples=examples(10))
@given(
    st.builds(
        Pointwise,
        batch=st.sampled_from([1, 3, "N"]),
        channels=st.sampled_from([1, 3, 8, 10, 17, 33]),
        size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
        filters=st.sampled_from([1, 5, 8, 10, 17, 33]),
        strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    )
)
def test_pointwise_convolution(compile_for_cpu: Compile, layer: Pointwise) -> None:
    network = Network()
    x = network.input(layer.batch, layer.channels, *layer.size)
    weights = network.weight(layer.filters, layer.channels, 1, 1)
    network.output(network.apply("Conv", x, weights, strides=layer.strides))
    compiled = compile_for_cpu(network.model())
    assert compiled.work == ["matmul"]
    for batch in (1, 3) if layer.batch == "N" else (1,):
        assert_agrees(compiled, network, N=batch)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@pytest.mark.parametrize("batch", [2, "N"])
def test_epilogues_of_a_pointwise_convolution_follow_the_pixel(
    compile_for_cpu: Compile, batch: int | str, strides: tuple[int, int]
) -> None:
    # A residual at each pixel, a gate per image and channel, a bias per channel.
    network = Network()
    x = network.input(batch, 12, 5, 7)
    y = network.apply("Conv", x, network.weight(17, 12, 1, 1), strides=strides)
    height, width = (-(-size // stride) for size, stride in zip((5, 7), strides, strict=True))
    y = network.apply("Mul", y, network.input(batch, 17, 1, 1))
    y = network.apply("Add", y, network.constant(normal(17, 1, 1)))
    y = network.apply("Add", y, network.input(batch, 17, height, width))
    network.output(network.apply("Relu", y))
    compiled = compile_for_cpu(network.model())
    assert compiled.work == ["matmul"]
    assert_agrees(compiled, network, N=3)


def test_threads_do_not_change_a_bit(compile_for_cpu: Compile) -> None:
    network = product("N", depth=200, columns=300)
    dynamic = compile_for_cpu(network.model())
    static = compile_for_cpu(product(64, depth=200, columns=300).model())
    for compiled in (dynamic, static):
        assert_one_kernel(compiled)
        assert_same_bits_on_threads(compiled, network, N=64)


@pytest.mark.parametrize("rows", [1, 37, "N"])
def test_generic_build(compile_for_cpu: Compile, rows: int | str) -> None:
    network = product(rows, depth=40, columns=50)
    compiled = compile_for_cpu(network.model(), mcpu="generic")
    assert_one_kernel(compiled)
    assert_agrees(compiled, network, N=11)


@X86
@pytest.mark.parametrize(
    ("mcpu", "register", "rows"),
    [("haswell", "ymm", 3136), ("haswell", "ymm", "N"), ("znver4", "zmm", 3136)],
)
def test_accumulators_stay_in_registers(
    compile_for_cpu: Compile, mcpu: str, register: str, rows: int | str
) -> None:
    assembly = compile_for_cpu(product(rows, depth=64, columns=64).model(), mcpu=mcpu).assembly
    loops = accumulating_loops(assembly, register)
    assert loops
    for loop in loops:
        assert not loop.spills, str(loop)
