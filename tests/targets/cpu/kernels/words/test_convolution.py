"""Integer convolution: ONNX Runtime's bits, for any image, kernel, step, padding and weights."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.kernels.words.dot import DotProduct
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
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
    random_weights,
    saturates,
)

X86 = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's registers")
SUMS_OF_16_BITS = re.compile(r'\+ T\.call_llvm_pure_intrin\("int16x16"')
PADDED = (1, 1, 1, 1)
SAME_3X3 = Layer((9, 8), (3, 3), pads=PADDED)
# Vectors of sixteen lanes that this machine can run: AVX2 computes each in two halves.
WIDE = dataclasses.replace(AVX2, vector_bytes=64, vector_registers=32)


def check(compile_for_cpu: Compile, layer: Layer, weights: np.ndarray | None = None) -> Compiled:
    """Asserts that a layer is one kernel of integers, and ONNX Runtime's bits for each batch."""
    network = layer.network(weights)
    compiled = compile_for_cpu(network.model())
    # Besides it, only the quantization of the network's input is left.
    assert sorted(set(compiled.work)) == ["integer_convolution", "loops"]
    for batch in (1, 3) if layer.batch == "N" else (1,):
        assert_same_bits(compiled, network, N=batch)
    return compiled


# Sizes that divide by nothing, not by four either, and a vector's.
CHANNELS = st.sampled_from([1, 3, 5, 8, 10, 17, 33])
KERNELS = st.tuples(st.integers(1, 5), st.integers(2, 5))


# Each example is a compilation.
@settings(max_examples=examples(12))
@given(layers(CHANNELS, KERNELS, SOURCES))
def test_any_layer(compile_for_cpu: Compile, layer: Layer) -> None:
    check(compile_for_cpu, layer)


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(Layer((1, 1), (3, 3), pads=PADDED), id="one pixel"),
        pytest.param(Layer((3, 4), (7, 7), pads=(3, 3, 3, 3)), id="kernel larger than the image"),
        pytest.param(Layer((1, 30), (1, 5), pads=(0, 2, 0, 2)), id="one row"),
        pytest.param(Layer((30, 1), (5, 1), pads=(2, 0, 2, 0)), id="one column"),
        pytest.param(Layer((4, 5), (2, 2), pads=(3, 4, 5, 3)), id="results all in the padding"),
        pytest.param(Layer((9, 9), (1, 1), pads=(1, 0, 0, 2)), id="1 x 1 with padding"),
        pytest.param(
            Layer((12, 11), (3, 3), pads=(0, 0, 1, 1), strides=(2, 2)), id="padding after only"
        ),
        pytest.param(
            Layer((3, 5), (3, 3), pads=(4, 4, 4, 4), dilations=(4, 4)),
            id="taps wider apart than the image is",
        ),
        pytest.param(Layer((6, 7), (3, 3), channels=1, filters=1), id="one channel and filter"),
        pytest.param(
            Layer((9, 31), (3, 3), channels=5, filters=40, batch=3, pads=PADDED),
            id="blocks of rows across images",
        ),
        pytest.param(
            Layer((4, 1), (5, 5), 3, strides=(3, 3), pads=(6, 6, 0, 0)),
            id="padding wider than all that the result reads",
        ),
    ],
)
def test_edges(compile_for_cpu: Compile, layer: Layer) -> None:
    check(compile_for_cpu, layer)


@pytest.mark.parametrize("zero_point", [0, 1, 255])
@pytest.mark.parametrize("channels", [3, 5])
def test_padding_stands_for_zero(compile_for_cpu: Compile, zero_point: int, channels: int) -> None:
    layer = Layer((3, 3), (3, 3), channels, pads=(2, 2, 2, 2), source=Affine(2**-6, zero_point))
    check(compile_for_cpu, layer)


class TestGroups:
    @pytest.mark.parametrize(("groups", "per_group", "vectors"), [(2, 8, 2), (3, 4, 4), (2, 12, 1)])
    @pytest.mark.parametrize("source", [ACTIVATIONS, SIGNED_ACTIVATIONS])
    def test_whole_panels(
        self, compile_for_cpu: Compile, groups: int, per_group: int, vectors: int, source: Affine
    ) -> None:
        filters = vectors * describe_cpu("native", threads=2).float_lanes
        layer = Layer(
            (7, 6), (3, 3), groups * per_group, groups * filters, groups=groups, pads=PADDED,
            batch="N", source=source,
        )  # fmt: skip
        check(compile_for_cpu, layer)

    @pytest.mark.parametrize(
        "layer",
        [
            pytest.param(Layer((5, 6), (3, 3), 10, 18, groups=2, pads=PADDED), id="words shared"),
            pytest.param(
                Layer((5, 6), (2, 3), 21, 105, groups=3, pads=PADDED, batch="N"),
                id="narrower last panels",
            ),
            pytest.param(
                Layer((5, 6), (3, 3), 6, 20, groups=2, pads=PADDED, dilations=(1, 2)),
                id="taps apart",
            ),
            pytest.param(Layer((7, 5), (1, 1), 36, 60, groups=4, batch=2), id="1 x 1"),
        ],
    )
    @pytest.mark.parametrize("mcpu", ["native", AVX2], ids=["native", "AVX2"])
    def test_any_number_of_channels(
        self, compile_for_cpu: Compile, layer: Layer, mcpu: str | CpuDescription
    ) -> None:
        network = layer.network()
        compiled = compile_for_cpu(network.model(), mcpu)
        assert "integer_convolution" in compiled.work
        assert_same_bits(compiled, network, N=3)

    def test_weights_that_saturate(self, compile_for_cpu: Compile) -> None:
        layer = Layer((6, 5), (3, 3), 15, 33, groups=3, pads=PADDED)
        ends = np.where(random_weights(33, 5, 3, 3) < 0, -128, 127).astype(np.int8)
        network = layer.network(ends)
        assert_same_bits(compile_for_cpu(network.model(), AVX2), network)

    @pytest.mark.parametrize(
        "layer",
        [
            pytest.param(Layer((5, 6), (3, 3), 40, 40, groups=10, pads=PADDED), id="four each"),
            pytest.param(Layer((5, 6), (3, 3), 24, 48, groups=24, pads=PADDED), id="two filters"),
            pytest.param(
                Layer((5, 6), (3, 3), 60, 36, groups=12, pads=PADDED, source=SIGNED_ACTIVATIONS),
                id="five to three",
            ),
        ],
    )
    def test_few_filters_are_summed_in_floats(self, compile_for_cpu: Compile, layer: Layer) -> None:
        network = layer.network()
        compiled = compile_for_cpu(network.model())
        assert "grouped_convolution" in compiled.work
        assert_same_bits(compiled, network)


class TestFirstLayers:
    """Images of few channels are read channels first, as they lie; nothing transposes them."""

    @pytest.mark.parametrize(
        "layer",
        [
            pytest.param(
                Layer((23, 21), (7, 7), 3, strides=(2, 2), pads=(3, 3, 3, 3), batch="N"),
                id="ResNet's",
            ),
            pytest.param(Layer((13, 15), (3, 3), 3, strides=(2, 2), pads=PADDED), id="MobileNet's"),
            pytest.param(Layer((9, 10), (1, 1), 3), id="pointwise"),
            pytest.param(
                Layer((9, 10), (5, 5), 4, strides=(1, 2), pads=(1, 0, 4, 3), batch=3),
                id="another padding on each side",
            ),
            pytest.param(
                Layer((9, 10), (5, 5), 1, dilations=(2, 3), pads=(7, 4, 7, 4)), id="taps apart"
            ),
        ],
    )
    def test_are_read_as_they_lie(self, compile_for_cpu: Compile, layer: Layer) -> None:
        compiled = check(compile_for_cpu, layer)
        transposes = [name for name in compiled.kernels if "transpose" in name]
        assert len(transposes) == 1, "only the result is transposed"


EXTREMES = {
    "127": np.full((17, 10, 3, 3), 127, np.int8),
    "-128": np.full((17, 10, 3, 3), -128, np.int8),
    "ends": np.where(random_weights(17, 10, 3, 3) < 0, -128, 127).astype(np.int8),
}
# By the depth of sums in 16 bits that weights allow: two groups, one, and not even one.
BY_DEPTH = {
    0: random_weights(17, 10, 3, 3),
    1: random_weights(17, 10, 3, 3, largest=64),
    2: random_weights(17, 10, 3, 3, largest=32),
}


def saturating_inputs(layer: Layer) -> dict[str, np.ndarray]:
    """Inputs far out of range: every activation is the least or the largest integer."""
    network = layer.network()
    return {
        name: np.where(values < 0, -1e9, 1e9).astype(np.float32)
        for name, values in network.random_inputs().items()
    }


class TestWeights:
    """Sums are exact, where pmaddubsw would saturate as well."""

    @pytest.mark.parametrize("extreme", EXTREMES)
    @pytest.mark.parametrize("zero_point", [0, 128])
    @pytest.mark.parametrize("mcpu", ["native", "generic"])
    def test_extreme_weights_and_activations(
        self, compile_for_cpu: Compile, extreme: str, zero_point: int, mcpu: str
    ) -> None:
        layer = dataclasses.replace(SAME_3X3, source=Affine(2.0**-6, zero_point))
        compiled = compile_for_cpu(layer.network(EXTREMES[extreme]).model(), mcpu=mcpu)
        for value in (-1e9, 1e9):
            image = np.full((1, 10, 9, 8), value, np.float32)
            (actual,) = compiled(image)
            np.testing.assert_array_equal(actual, expected(layer, image, EXTREMES[extreme]))
        (image,) = saturating_inputs(layer).values()
        (actual,) = compiled(image)
        np.testing.assert_array_equal(actual, expected(layer, image, EXTREMES[extreme]))

    @pytest.mark.parametrize("depth", BY_DEPTH)
    @pytest.mark.parametrize("mcpu", ["native", "generic"])
    def test_each_depth_of_sums_in_16_bits(
        self, compile_for_cpu: Compile, depth: int, mcpu: str
    ) -> None:
        weights = BY_DEPTH[depth]
        (image,) = saturating_inputs(SAME_3X3).values()
        compiled = compile_for_cpu(SAME_3X3.network(weights).model(), mcpu=mcpu)
        (actual,) = compiled(image)
        np.testing.assert_array_equal(actual, expected(SAME_3X3, image, weights))

    @X86
    @pytest.mark.parametrize(("depth", "adds"), [(0, False), (1, False), (2, True)])
    def test_the_depth_decides_the_code(
        self, compile_for_cpu: Compile, depth: int, adds: bool
    ) -> None:
        compiled = compile_for_cpu(SAME_3X3.network(BY_DEPTH[depth]).model(), mcpu="haswell")
        script = compiled.lowered.module.script()
        assert bool(SUMS_OF_16_BITS.search(script)) == adds
        assert ("excess" in script) == (depth == 0)


def expected(layer: Layer, image: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The layer's integers by exact sums."""
    sums = layer.sums(layer.source.quantize(image), weights)
    assert np.abs(sums).max() < 2**24, "no longer exact in float32"
    scales = np.broadcast_to(layer.scales, layer.filters) * np.float64(layer.source.scale)
    values = sums * scales[:, None, None] + layer.bias.astype(np.float64)[:, None, None]
    return layer.result.quantize(values)


def test_results_far_out_of_range_saturate(compile_for_cpu: Compile) -> None:
    for dtype, zero_point in (("uint8", 0), ("uint8", 255), ("int8", -128), ("int8", -7)):
        layer = dataclasses.replace(SAME_3X3, dtype=dtype, zero_point=zero_point)
        network = QuantizedNetwork()
        network.integers(layer.add_to(network), Affine(1e-12, zero_point, dtype))
        network.integers(layer.add_to(network), Affine(0.5, zero_point, dtype))
        compiled = compile_for_cpu(network.model())
        images = [many_inputs(1, 10, 9, 8, seed=seed) for seed in range(2)]
        for actual, reached in zip(compiled(*images), (1.0, 0.0), strict=True):
            limits = np.iinfo(dtype)
            assert np.mean((actual == limits.min) | (actual == limits.max)) >= reached
        assert_same_bits(compiled, network)


def test_some_results_of_each_layer_saturate() -> None:
    # The layers of these tests would prove less if none did, or all.
    layer = Layer((16, 16), (3, 3), batch=3)
    (image,) = layer.network().random_inputs().values()
    assert saturates(expected(layer, image))


@settings(max_examples=examples(6))
@given(
    st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.integers(-128, 127), st.sampled_from(["u", ""])
)
def test_any_scale(
    compile_for_cpu: Compile, source: float, weight: float, zero_point: int, sign: str
) -> None:
    dtype, zero_point = f"{sign}int8", zero_point + (128 if sign else 0)
    affine = Affine(source, 100)
    layer = dataclasses.replace(SAME_3X3, source=affine)
    values = random_weights(17, 10, 3, 3)
    scales = np.float32(weight) * np.random.default_rng(1).uniform(0.5, 1, 17).astype(np.float32)
    bias = np.random.default_rng(2).normal(size=17).astype(np.float32)
    bias *= np.float32(source * weight * 2e4)
    result = Affine(source * weight * 600, zero_point, dtype)

    network = QuantizedNetwork()
    x = network.quantized(network.input(1, 10, 9, 8), affine)
    w = network.weights(values, scales)
    network.integers(network.apply("Conv", x, w, network.constant(bias), pads=PADDED), result)
    image = many_inputs(1, 10, 9, 8) * np.float32(source * 50)
    (actual,) = compile_for_cpu(network.model())(image)

    factors = scales.astype(np.float64) * np.float64(np.float32(source))
    products = layer.sums(affine.quantize(image), values) * factors[:, None, None]
    exact = products + bias.astype(np.float64)[:, None, None]
    assert_rounded(actual, exact, result, np.abs(products) + np.abs(bias).max())


@pytest.mark.parametrize("batch", [2, "N"])
def test_threads_do_not_change_a_bit(compile_for_cpu: Compile, batch: int | str) -> None:
    layer = Layer((24, 22), (3, 3), 20, 40, pads=(2, 2, 2, 2), batch=batch)
    network = layer.network()
    compiled = compile_for_cpu(network.model())
    assert_same_bits_on_threads(compiled, network, N=2)


@X86
@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param("x86-64", id="plain"),
        pytest.param("generic", id="SSSE3"),
        pytest.param("haswell", id="AVX2"),
        pytest.param("alderlake", id="AVX-VNNI"),
        pytest.param("skylake-avx512", id="AVX-512"),
        pytest.param("icelake-client", id="AVX-512 with VNNI"),
        pytest.param(WIDE, id="VNNI's tiles, plain products"),
    ],
)
def test_builds_give_the_same_bits(compile_for_cpu: Compile, cpu: str | CpuDescription) -> None:
    network = QuantizedNetwork()
    for layer in (
        Layer((7, 8), (3, 3), pads=PADDED),
        Layer((9, 9), (7, 7), channels=3, filters=40, strides=(2, 2), pads=(3, 3, 3, 3)),
        Layer((14, 14), (3, 3), 64, 64, pads=PADDED, source=SIGNED_ACTIVATIONS),
        Layer((14, 9), (1, 1), 64, 64),
        Layer((9, 7), (3, 3), 32, 96, groups=2, dilations=(2, 2), pads=PADDED),
    ):
        network.integers(layer.add_to(network), layer.result)
    compiled = compile_for_cpu(network.model(), mcpu=cpu)
    assert compiled.work.count("integer_convolution") == 4
    assert_same_bits(compiled, network)


def test_tiles_as_vnni_s_need_no_room_for_sums() -> None:
    assert DotProduct.of(WIDE) == DotProduct("plain", 16)


@X86
class TestMachineCode:
    LAYER = Layer((28, 28), (3, 3), 64, 64, pads=PADDED)

    @pytest.mark.parametrize("mcpu", ["cascadelake", "znver4"])
    @pytest.mark.parametrize("batch", [1, "N"])
    def test_vnni_keeps_accumulators_in_registers(
        self, compile_for_cpu: Compile, mcpu: str, batch: int | str
    ) -> None:
        layer = dataclasses.replace(self.LAYER, batch=batch)
        compiled = compile_for_cpu(layer.network().model(), mcpu=mcpu)
        loops = accumulating_loops(compiled.assembly, "zmm", "vpdpbusd")
        assert loops
        for loop in loops:
            assert not loop.spills, str(loop)
        assert "vpmaddubsw" not in compiled.assembly

    @pytest.mark.parametrize(("mcpu", "register"), [("haswell", "ymm"), ("skylake-avx512", "zmm")])
    def test_products_read_weights_from_memory(
        self, compile_for_cpu: Compile, mcpu: str, register: str
    ) -> None:
        compiled = compile_for_cpu(self.LAYER.network().model(), mcpu=mcpu)
        loops = accumulating_loops(compiled.assembly, register, "vpmaddubsw")
        assert loops
        for loop in loops:
            assert not loop.spills, str(loop)
            products = [line for line in loop.instructions if line.startswith("vpmaddubsw")]
            assert all("(" in line for line in products), str(loop)

    @pytest.mark.parametrize(
        ("mcpu", "register", "instruction"),
        [
            ("x86-64-v2", "xmm", "pmaddubsw"),
            ("haswell", "ymm", "vpmaddubsw"),
            ("skylake-avx512", "zmm", "vpmaddubsw"),
            ("alderlake", "ymm", "{vex} vpdpbusd"),
            ("icelake-server", "zmm", "vpdpbusd"),
        ],
    )
    def test_instructions(
        self, compile_for_cpu: Compile, mcpu: str, register: str, instruction: str
    ) -> None:
        compiled = compile_for_cpu(self.LAYER.network().model(), mcpu=mcpu)
        assembly = compiled.assembly.replace("\t", " ")
        assert accumulating_loops(assembly, register, instruction)


@pytest.mark.parametrize(
    ("mcpu", "features", "instruction"),
    [("neoverse-n1", ("asimd", "asimddp"), "mla"), ("neoverse-v1", ("asimd", "i8mm"), "usdot")],
)
def test_arm(
    compile_for_cpu: Compile, mcpu: str, features: tuple[str, ...], instruction: str
) -> None:
    cpu = dataclasses.replace(NEON, mcpu=mcpu, features=features)
    compiled = compile_for_cpu(Layer((9, 9), (3, 3), 16, 24).network().model(), mcpu=cpu)
    assert "integer_convolution" in compiled.work
    assert f"\t{instruction}\t" in compiled.assembly
