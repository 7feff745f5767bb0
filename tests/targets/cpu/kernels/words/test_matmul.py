"""Integer matmul: ONNX Runtime's bits, for any shape, weights and zero points."""

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
from tests.targets.cpu.networks import assert_same_bits_on_threads
from tests.targets.cpu.processors import AVX2, NEON
from tests.targets.cpu.quantized_networks import (
    ACTIVATIONS,
    SIGNED_ACTIVATIONS,
    SOURCES,
    Affine,
    Layer,
    QuantizedNetwork,
    assert_rounded,
    assert_same_bits,
    layers,
    many_inputs,
    powers_of_two,
    random_weights,
    result_affine,
)

X86 = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's registers")


@dataclasses.dataclass(frozen=True)
class Product:
    """Integers times a constant matrix."""

    leading: tuple[int | str, ...]
    depth: int
    columns: int
    source: Affine = ACTIVATIONS
    zero_point: int = 121
    dtype: str = "uint8"
    per_channel: bool = True

    @property
    def weights(self) -> np.ndarray:
        return random_weights(self.depth, self.columns)

    def network(self, weights: np.ndarray | None = None) -> QuantizedNetwork:
        network = QuantizedNetwork()
        x = network.quantized(network.input(*self.leading, self.depth), self.source)
        scales = powers_of_two(self.columns) if self.per_channel else 2.0**-7
        w = network.weights(self.weights if weights is None else weights, scales, axis=1)
        network.integers(
            network.apply("MatMul", x, w), result_affine(self.depth, self.zero_point, self.dtype)
        )
        return network


def assert_one_kernel(compiled: Compiled, family: str = "integer_matmul") -> None:
    """Besides it, only the quantization of the network's input is left."""
    assert compiled.work.count(family) == 1
    assert set(compiled.work) <= {family, "loops"}


def check(compile_for_cpu: Compile, product: Product) -> None:
    network = product.network()
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    for size in (1, 3) if "N" in product.leading else (1,):
        assert_same_bits(compiled, network, N=size)


# Each example is a compilation.
@settings(max_examples=examples(12))
@given(
    st.builds(
        Product,
        leading=st.lists(st.sampled_from([1, 2, 3, 7, 13, 40, "N"]), min_size=1, max_size=3).map(
            tuple
        ),
        depth=st.sampled_from([1, 2, 3, 4, 8, 17, 34, 64]),
        columns=st.sampled_from([1, 3, 8, 10, 17, 33, 70]),
        source=SOURCES,
        zero_point=st.sampled_from([0, 3, 127]),
        dtype=st.sampled_from(["uint8", "int8"]),
        per_channel=st.booleans(),
    )
)
def test_any_shape(compile_for_cpu: Compile, product: Product) -> None:
    check(compile_for_cpu, product)


@pytest.mark.parametrize(
    ("rows", "depth", "columns"),
    [
        pytest.param(1, 256, 1000, id="one row, several panels and a narrower last one"),
        pytest.param(1, 1, 1, id="one element"),
        pytest.param(30, 19, 1, id="one column"),
        pytest.param(30, 1, 30, id="depth one"),
        pytest.param(128, 96, 200, id="shared by rows and panels"),
        pytest.param(401, 2, 8, id="many short rows"),
        pytest.param(97, 130, 24, id="depth that leaves two"),
        pytest.param(97, 131, 100, id="depth that leaves three, more panels"),
    ],
)
@pytest.mark.parametrize("source", [ACTIVATIONS, SIGNED_ACTIVATIONS], ids=["uint8", "int8"])
def test_edges(
    compile_for_cpu: Compile, rows: int, depth: int, columns: int, source: Affine
) -> None:
    check(compile_for_cpu, Product((rows,), depth, columns, source))


@pytest.mark.parametrize("depth", [20, 22])
def test_any_number_of_rows_with_one_compilation(compile_for_cpu: Compile, depth: int) -> None:
    # Every remainder of the tile's height, no full tile, and more than one block of full tiles.
    network = Product(("N", "S"), depth, 50).network()
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    for rows in range(1, 30):
        assert_same_bits(compiled, network, N=1, S=rows)
    assert_same_bits(compiled, network, N=5, S=101)


@pytest.mark.parametrize("transposed", [False, True])
def test_gemm(compile_for_cpu: Compile, transposed: bool) -> None:
    network = QuantizedNetwork()
    x = network.quantized(network.input("N", 33), ACTIVATIONS)
    scales = powers_of_two(10)
    if transposed:
        weights = network.weights(random_weights(10, 33), scales, axis=0)
    else:
        weights = network.weights(random_weights(33, 10), scales, axis=1)
    bias = network.constant(np.arange(-5, 5, dtype=np.float32) / 8)
    y = network.apply("Gemm", x, weights, bias, transB=int(transposed))
    network.integers(y, result_affine(33))
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    assert_same_bits(compiled, network, N=3)


EXTREMES = {
    "127": np.full((66, 40), 127, np.int8),
    "-128": np.full((66, 40), -128, np.int8),
    "ends": np.where(random_weights(66, 40) < 0, -128, 127).astype(np.int8),
    "excess": random_weights(66, 40),
    "one group": random_weights(66, 40, largest=64),
    "two groups": random_weights(66, 40, largest=32),
}


@pytest.mark.parametrize("kind", EXTREMES)
@pytest.mark.parametrize("mcpu", ["native", "generic"])
def test_sums_are_exact_where_16_bits_would_saturate(
    compile_for_cpu: Compile, kind: str, mcpu: str
) -> None:
    product = Product((37,), 66, 40, Affine(2.0**-6, 128), per_channel=False)
    weights = EXTREMES[kind]
    compiled = compile_for_cpu(product.network(weights).model(), mcpu=mcpu)
    rows = np.where(np.random.default_rng(3).random((37, 66)) < 0.5, -1e9, 1e9)
    rows[0], rows[1], rows[2] = -1e9, 1e9, 0
    (actual,) = compiled(rows.astype(np.float32))
    sums = product.source.centred(product.source.quantize(rows)) @ weights.astype(np.int64)
    expected = result_affine(66).quantize(sums * 2.0**-13)
    np.testing.assert_array_equal(actual, expected)


@settings(max_examples=examples(5))
@given(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.integers(-128, 127))
def test_any_scale(compile_for_cpu: Compile, source: float, weight: float, zero_point: int) -> None:
    affine, result = Affine(source, 7), Affine(source * weight * 900, zero_point, "int8")
    scales = np.float32(weight) * np.random.default_rng(1).uniform(0.5, 1, 19).astype(np.float32)
    integers = random_weights(34, 19)
    network = QuantizedNetwork()
    x = network.quantized(network.input(11, 34), affine)
    network.integers(network.apply("MatMul", x, network.weights(integers, scales, 1)), result)
    rows = many_inputs(11, 34) * np.float32(source * 60)
    (actual,) = compile_for_cpu(network.model())(rows)
    sums = affine.centred(affine.quantize(rows)) @ integers.astype(np.int64)
    exact = sums * (scales.astype(np.float64) * np.float64(np.float32(source)))
    assert_rounded(actual, exact, result, 0)


CHANNELS = st.sampled_from([5, 6, 8, 10, 17, 33])


@settings(max_examples=examples(10))
@given(layers(CHANNELS, st.just((1, 1)), SOURCES))
def test_pointwise_convolution(compile_for_cpu: Compile, layer: Layer) -> None:
    layer = dataclasses.replace(layer, pads=(0, 0, 0, 0))
    network = layer.network()
    compiled = compile_for_cpu(network.model())
    assert_one_kernel(compiled)
    for batch in (1, 3) if layer.batch == "N" else (1,):
        assert_same_bits(compiled, network, N=batch)


def test_threads_do_not_change_a_bit(compile_for_cpu: Compile) -> None:
    for rows in ("N", 64):
        network = Product((rows,), 202, 300).network()
        compiled = compile_for_cpu(network.model())
        assert_one_kernel(compiled)
        assert_same_bits_on_threads(compiled, network, N=64)


@X86
@pytest.mark.parametrize("rows", [1, 37, "N"])
@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param("x86-64", id="plain"),
        pytest.param("generic", id="SSSE3"),
        pytest.param("haswell", id="AVX2"),
        pytest.param("alderlake", id="AVX-VNNI"),
        pytest.param("skylake-avx512", id="AVX-512"),
        pytest.param("icelake-client", id="AVX-512 with VNNI"),
        pytest.param(
            dataclasses.replace(AVX2, vector_bytes=64, vector_registers=32),
            id="VNNI's tiles, plain products",
        ),
    ],
)
def test_builds_give_the_same_bits(compile_for_cpu: Compile, cpu: object, rows: int | str) -> None:
    network = Product((rows,), 42, 50).network()
    compiled = compile_for_cpu(network.model(), mcpu=cpu)
    assert_one_kernel(compiled)
    assert_same_bits(compiled, network, N=11)


@X86
@pytest.mark.parametrize("mcpu", ["cascadelake", "znver4"])
@pytest.mark.parametrize("rows", [3136, "N"])
def test_vnni_keeps_accumulators_in_registers(
    compile_for_cpu: Compile, mcpu: str, rows: int | str
) -> None:
    compiled = compile_for_cpu(Product((rows,), 64, 64).network().model(), mcpu=mcpu)
    loops = accumulating_loops(compiled.assembly, "zmm", "vpdpbusd")
    assert loops
    for loop in loops:
        assert not loop.spills, str(loop)


@X86
@pytest.mark.parametrize(
    ("mcpu", "register", "instruction"),
    [
        ("x86-64-v2", "xmm", "pmaddubsw"),
        ("haswell", "ymm", "vpmaddubsw"),
        ("skylake-avx512", "zmm", "vpmaddubsw"),
    ],
)
def test_instructions(compile_for_cpu: Compile, mcpu: str, register: str, instruction: str) -> None:
    compiled = compile_for_cpu(Product((64,), 64, 64).network().model(), mcpu=mcpu)
    assert accumulating_loops(compiled.assembly, register, instruction)


@pytest.mark.parametrize(
    ("features", "instruction"), [(("asimd",), "mla"), (("asimd", "i8mm"), "usdot")]
)
def test_arm(compile_for_cpu: Compile, features: tuple[str, ...], instruction: str) -> None:
    cpu = dataclasses.replace(NEON, mcpu="neoverse-v1", features=features)
    compiled = compile_for_cpu(Product(("N",), 33, 24).network().model(), mcpu=cpu)
    assert_one_kernel(compiled)
    assert f"\t{instruction}\t" in compiled.assembly
