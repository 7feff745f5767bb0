"""QDQ networks as integer arithmetic: ONNX Runtime's bits, and 8 bits between the kernels."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from ingot.reference.session import Reference
from tests.examples import examples
from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.networks import ROUNDING
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
    powers_of_two,
    random_weights,
    result_affine,
)

LAYER = Layer((8, 8), (3, 3), 8, 24, pads=(1, 1, 1, 1))


def types_between_kernels(compiled: Compiled) -> set[str]:
    """Types of the tensors that kernels hand on."""
    found: set[str] = set()

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call) and expression.op == tvm.ir.Op.get("relax.call_tir"):
            found.add(str(expression.ty.dtype))

    relax.analysis.post_order_visit(compiled.lowered.module["main"], visit)
    return found


def convolution(
    network: QuantizedNetwork, x: str, weights: np.ndarray, **attributes: object
) -> str:
    """A convolution of a quantized value with weights of one scale."""
    return network.apply("Conv", x, network.weights(weights, 2.0**-7), **attributes)


class TestResiduals:
    """The blocks of residual networks."""

    def network(
        self, batch: int | str, after: bool, *, rounded_before: bool = True
    ) -> QuantizedNetwork:
        network = QuantizedNetwork()
        layer = Layer((8, 8), (3, 3), 8, 24, pads=(1, 1, 1, 1), batch=batch)
        y = layer.add_to(network)
        trunk = network.quantized(network.apply("Relu", y), Affine(2.0**-4, 0))
        y = convolution(network, trunk, random_weights(24, 24, 3, 3, seed=1), pads=[1] * 4)
        y = network.quantized(network.apply("Relu", y), Affine(2.0**-1, 0))
        y = convolution(network, y, random_weights(24, 24, 1, 1, seed=2))
        y = y if after else network.apply("Relu", y)
        y = network.quantized(y, Affine(1.0, 90)) if rounded_before else y
        total = network.apply("Add", y, trunk)
        total = network.apply("Relu", total) if after else total
        network.integers(total, Affine(1.0, 3))
        return network

    @pytest.mark.parametrize("batch", [1, 2, "N"])
    @pytest.mark.parametrize("after", [True, False], ids=["relu after", "relu before"])
    def test_blocks(self, compile_for_cpu: Compile, batch: int | str, after: bool) -> None:
        network = self.network(batch, after)
        compiled = compile_for_cpu(network.model())
        assert_same_bits(compiled, network, N=3)
        assert types_between_kernels(compiled) == {"uint8"}
        assert sorted(set(compiled.work)) == ["integer_convolution", "integer_matmul", "loops"]

    def test_the_addition_belongs_to_the_kernel_before_it(self, compile_for_cpu: Compile) -> None:
        network = self.network(1, after=True, rounded_before=False)
        compiled = compile_for_cpu(network.model())
        assert_same_bits(compiled, network)
        # The network's input is quantized by itself; nothing else is.
        alone = [
            name
            for name, family in compiled.kernels.items()
            if family == "loops" and "transpose" not in name
        ]
        assert len(alone) == 1, alone

    def test_of_a_projection(self, compile_for_cpu: Compile) -> None:
        network = QuantizedNetwork()
        x = network.quantized(network.input("N", 16, 7, 7), ACTIVATIONS)
        left = convolution(network, x, random_weights(20, 16, 3, 3), pads=[1] * 4, strides=[2, 2])
        right = convolution(network, x, random_weights(20, 16, 1, 1, seed=1), strides=[2, 2])
        left = network.quantized(left, Affine(0.125, 121))
        right = network.quantized(right, Affine(0.0625, 117))
        network.integers(network.apply("Relu", network.apply("Add", left, right)), Affine(0.125, 0))
        compiled = compile_for_cpu(network.model())
        assert_same_bits(compiled, network, N=2)
        assert types_between_kernels(compiled) == {"uint8"}


class TestDepthwise:
    """Depthwise layers read integers, and add exactly in float32."""

    def network(self, layer: Layer) -> QuantizedNetwork:
        network = QuantizedNetwork()
        x = network.quantized(network.input(layer.batch, layer.channels, *layer.size), ACTIVATIONS)
        identity = np.eye(layer.channels, dtype=np.int8)[:, :, None, None] * np.int8(64)
        x = network.quantized(convolution(network, x, identity), layer.source)
        y = network.apply(
            "Conv", x, network.weights(layer.weights, layer.scales), network.constant(layer.bias),
            group=layer.channels, strides=layer.strides, pads=layer.pads,
            dilations=layer.dilations,
        )  # fmt: skip
        network.integers(y, layer.result)
        return network

    @settings(max_examples=examples(8))
    @given(
        layers(
            st.sampled_from([2, 3, 7, 8, 16, 24, 33]),
            st.tuples(st.integers(1, 5), st.integers(1, 5)),
            SOURCES,
        )
    )
    def test_any_layer(self, compile_for_cpu: Compile, given_layer: Layer) -> None:
        channels = given_layer.channels
        layer = Layer(**{**vars(given_layer), "groups": channels, "filters": channels})
        network = self.network(layer)
        compiled = compile_for_cpu(network.model())
        assert compiled.work.count("depthwise") == 1
        for batch in (1, 3) if layer.batch == "N" else (1,):
            assert_same_bits(compiled, network, N=batch)

    @pytest.mark.parametrize(
        "source",
        [ACTIVATIONS, pytest.param(SIGNED_ACTIVATIONS, marks=pytest.mark.slow)],
        ids=["uint8", "int8"],
    )
    def test_mobile_network_block(self, compile_for_cpu: Compile, source: Affine) -> None:
        layer = Layer(
            (13, 15), (3, 3), 20, 20, (2, 2), (0, 0, 1, 1), groups=20, source=source, batch="N"
        )
        network = self.network(layer)
        compiled = compile_for_cpu(network.model())
        assert_same_bits(compiled, network, N=2)
        if source is ACTIVATIONS:
            assert types_between_kernels(compiled) == {"uint8"}

    def test_extreme_values_and_large_windows(self, compile_for_cpu: Compile) -> None:
        layer = Layer((13, 12), (11, 11), 9, 9, pads=(5, 5, 5, 5), groups=9)
        network = self.network(layer)
        compiled = compile_for_cpu(network.model())
        images = {
            name: np.where(values < 0, -1e9, 1e9).astype(np.float32)
            for name, values in network.random_inputs().items()
        }
        (expected,) = Reference(network.model()).run(images).values()
        np.testing.assert_array_equal(compiled(*images.values())[0], expected)


class TestPooling:
    @pytest.mark.parametrize(
        ("operator", "attributes"),
        [
            ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("AveragePool", {"kernel_shape": [4, 4], "pads": [1, 1, 1, 1],
                             "count_include_pad": 1}),
            ("GlobalAveragePool", {}),
            ("GlobalMaxPool", {}),
        ],
        ids=str,
    )  # fmt: skip
    @pytest.mark.parametrize("zero_point", [0, 131, 255])
    def test_between_layers(
        self, compile_for_cpu: Compile, operator: str, attributes: dict[str, object],
        zero_point: int,
    ) -> None:  # fmt: skip
        network = QuantizedNetwork()
        y = network.quantized(LAYER.add_to(network), Affine(2.0**-4, zero_point))
        network.integers(network.apply(operator, y, **attributes), Affine(2.0**-4, zero_point))
        compiled = compile_for_cpu(network.model())
        assert_same_bits(compiled, network)
        if operator in ("MaxPool", "AveragePool"):
            assert types_between_kernels(compiled) == {"uint8"}

    def test_padding_is_no_pixel(self, compile_for_cpu: Compile) -> None:
        # All pixels stand for negative numbers: padding that counted as zero would be the largest.
        network = QuantizedNetwork()
        y = network.quantized(
            network.apply("Min", LAYER.add_to(network), network.constant(-2.0)),
            Affine(2.0**-3, 200),
        )
        pooled = network.apply("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4)
        network.integers(pooled, Affine(2.0**-3, 200))
        assert_same_bits(compile_for_cpu(network.model()), network)

    @pytest.mark.parametrize("batch", [1, "N"])
    def test_averages_of_any_count(self, compile_for_cpu: Compile, batch: int | str) -> None:
        network = QuantizedNetwork()
        layer = Layer((7, 7), (3, 3), 8, 24, pads=(1, 1, 1, 1), batch=batch)
        y = network.quantized(layer.add_to(network), Affine(2.0**-4, 121))
        value = network.apply("GlobalAveragePool", y)
        affine = Affine(2.0**-9, 121)
        network.integers(value, affine)
        inputs = network.random_inputs(N=3)
        exact = Reference(network.model(), expose=[value]).run(inputs, [value])[value]
        (actual,) = compile_for_cpu(network.model())(*inputs.values())
        assert_rounded(actual, exact.astype(np.float64), affine, 8)

    def test_the_classifier_behind_it(self, compile_for_cpu: Compile) -> None:
        network = QuantizedNetwork()
        layer = Layer((8, 8), (3, 3), 8, 24, pads=(1, 1, 1, 1), batch="N")
        y = network.quantized(network.apply("Relu", layer.add_to(network)), Affine(2.0**-4))
        y = network.apply("Flatten", network.apply("GlobalAveragePool", y))
        y = network.quantized(y, Affine(2.0**-6))
        weights = network.weights(random_weights(10, 24), powers_of_two(10), axis=0)
        bias = network.constant(np.arange(10, dtype=np.float32) / 16)
        network.output(network.apply("Gemm", y, weights, bias, transB=1))
        compiled = compile_for_cpu(network.model())
        assert "integer_matmul" in compiled.work
        assert_same_bits(compiled, network, N=3)


def test_concatenation(compile_for_cpu: Compile) -> None:
    # Each part has integers of its own; the result has others.
    network = QuantizedNetwork()
    parts = [
        network.quantized(LAYER.add_to(network), affine)
        for affine in (Affine(2.0**-4, 121), Affine(2.0**-5, 0), Affine(2.0**-4, -9, "int8"))
    ]
    joined = network.quantized(network.apply("Concat", *parts, axis=1), Affine(2.0**-3, 99))
    y = convolution(network, joined, random_weights(10, 72, 1, 1))
    network.integers(y, result_affine(72))
    network.integers(joined, Affine(2.0**-3, 99))
    compiled = compile_for_cpu(network.model())
    assert compiled.work.count("integer_matmul") == 1
    assert_same_bits(compiled, network)


def test_one_value_read_by_several_layers(compile_for_cpu: Compile) -> None:
    network = QuantizedNetwork()
    x = network.quantized(network.input(1, 9, 6, 6), SIGNED_ACTIVATIONS)
    for kernel in (1, 3):
        weights = random_weights(8, 9, kernel, kernel)
        y = convolution(network, x, weights, pads=[kernel // 2] * 4)
        network.integers(y, result_affine(weights[0].size))
    compiled = compile_for_cpu(network.model())
    assert sorted(set(compiled.work)) == ["integer_convolution", "integer_matmul", "loops"]
    assert_same_bits(compiled, network)


def test_quantized_bias(compile_for_cpu: Compile) -> None:
    # QDQ models hold it in int32, at the product of the scales.
    network = QuantizedNetwork()
    x = network.quantized(network.input(1, 9, 6, 6), ACTIVATIONS)
    scales = powers_of_two(12)
    bias = np.random.default_rng(0).integers(-(2**16), 2**16, 12).astype(np.int32)
    y = network.apply(
        "Conv",
        x,
        network.weights(random_weights(12, 9, 3, 3), scales),
        network.weights(bias, scales * np.float32(ACTIVATIONS.scale), dtype="int32"),
    )
    network.integers(y, result_affine(81))
    compiled = compile_for_cpu(network.model())
    assert "integer_convolution" in compiled.work
    assert_same_bits(compiled, network)


def test_transposed_weights(compile_for_cpu: Compile) -> None:
    network = QuantizedNetwork()
    x = network.quantized(network.input(7, 33), ACTIVATIONS)
    weights = network.weights(random_weights(10, 33), powers_of_two(10), axis=0)
    y = network.apply("MatMul", x, network.apply("Transpose", weights, perm=[1, 0]))
    network.integers(y, result_affine(33))
    compiled = compile_for_cpu(network.model())
    assert "integer_matmul" in compiled.work
    assert_same_bits(compiled, network)


ZERO_POINTS = {
    "bytes all the same": (random_weights(24, 8, 3, 3), np.array(3, np.int8)),
    "unsigned": (random_weights(24, 8, 3, 3).view(np.uint8), np.array(128, np.uint8)),
    "beyond bytes": (random_weights(24, 8, 3, 3).view(np.uint8), np.array(113, np.uint8)),
    "signed beyond bytes": (random_weights(24, 8, 3, 3), np.array(-9, np.int8)),
    "per column": (
        random_weights(24, 8, 3, 3).view(np.uint8),
        random_weights(24, seed=2).view(np.uint8),
    ),
}


class TestZeroPointsOfWeights:
    """Weights may have zero points: exact, on the kernels of integers."""

    def dequantized(self, network: QuantizedNetwork, case: str, axis: int) -> str:
        array, zeros = ZERO_POINTS[case]
        scales = powers_of_two(24) if zeros.ndim else np.array(2.0**-7, np.float32)
        constants = map(network.constant, (array if axis == 0 else _matrix(array), scales, zeros))
        return network.apply("DequantizeLinear", *constants, axis=axis)

    @pytest.mark.parametrize("case", ZERO_POINTS)
    def test_convolution(self, compile_for_cpu: Compile, case: str) -> None:
        network = QuantizedNetwork()
        x = network.quantized(network.input("N", 8, 9, 9), ACTIVATIONS)
        y = network.apply("Conv", x, self.dequantized(network, case, 0), pads=[1] * 4)
        network.integers(y, result_affine(72))
        compiled = compile_for_cpu(network.model())
        assert_same_bits(compiled, network, N=2)
        assert "integer_convolution" in compiled.work

    @pytest.mark.parametrize("case", ZERO_POINTS)
    def test_matmul(self, compile_for_cpu: Compile, case: str) -> None:
        network = QuantizedNetwork()
        x = network.quantized(network.input(5, 72), SIGNED_ACTIVATIONS)
        y = network.apply("MatMul", x, self.dequantized(network, case, 1))
        network.integers(y, result_affine(72))
        compiled = compile_for_cpu(network.model())
        assert_same_bits(compiled, network)
        assert "integer_matmul" in compiled.work

    @pytest.mark.parametrize("case", ZERO_POINTS)
    def test_depthwise(self, compile_for_cpu: Compile, case: str) -> None:
        network = QuantizedNetwork()
        x = network.quantized(network.input(1, 24, 9, 9), ACTIVATIONS)
        array, zeros = ZERO_POINTS[case]
        scales = powers_of_two(24) if zeros.ndim else np.array(2.0**-7, np.float32)
        constants = map(network.constant, (array[:, :1], scales, zeros))
        weights = network.apply("DequantizeLinear", *constants, axis=0)
        y = network.apply("Conv", x, weights, group=24, pads=[1] * 4)
        network.integers(y, result_affine(9))
        compiled = compile_for_cpu(network.model())
        assert_same_bits(compiled, network)
        assert "depthwise" in compiled.work


def _matrix(filters: np.ndarray) -> np.ndarray:
    """Filters as the columns of a matrix."""
    return np.ascontiguousarray(filters.reshape(len(filters), -1).T)


def test_sequences_run_on_the_kernels_of_images(compile_for_cpu: Compile) -> None:
    network = QuantizedNetwork()
    y = network.quantized(network.input(2, 8, 40), ACTIVATIONS)
    y = network.apply("Conv", y, network.weights(random_weights(16, 8, 3), 2.0**-7), pads=[1, 1])
    y = network.quantized(network.apply("Relu", y), result_affine(24, 0))
    weights = network.weights(random_weights(12, 16, 3, seed=1), 2.0**-7)
    y = network.apply("Conv", y, weights, strides=[2])
    network.integers(y, Affine(4.0, 121))
    compiled = compile_for_cpu(network.model())
    assert_same_bits(compiled, network)
    assert compiled.work.count("integer_convolution") == 2
    assert types_between_kernels(compiled) == {"uint8"}


class TestWhatStaysInFloats:
    """What is no product of integers by one scale per column is computed as it is written."""

    def check(self, compile_for_cpu: Compile, network: QuantizedNetwork) -> None:
        compiled = compile_for_cpu(network.model())
        assert not [family for family in compiled.work if family.startswith("integer")]
        inputs = network.random_inputs()
        for actual, expected in zip(
            compiled(*inputs.values()), Reference(network.model()).run(inputs).values(), strict=True
        ):
            scale = np.abs(expected).max()
            np.testing.assert_allclose(actual, expected, rtol=0, atol=10 * ROUNDING * scale)

    def test_weights_alone(self, compile_for_cpu: Compile) -> None:
        network = QuantizedNetwork()
        network.output(convolution(network, network.input(1, 8, 5, 5), random_weights(9, 8, 3, 3)))
        self.check(compile_for_cpu, network)

    def test_scales_along_the_reduction(self, compile_for_cpu: Compile) -> None:
        network = QuantizedNetwork()
        x = network.quantized(network.input(4, 12), ACTIVATIONS)
        weights = network.weights(random_weights(12, 9), powers_of_two(12), axis=0)
        network.output(network.apply("MatMul", x, weights))
        self.check(compile_for_cpu, network)

    def test_real_filters_of_an_image_whose_scale_is_one(self, compile_for_cpu: Compile) -> None:
        network = QuantizedNetwork()
        x = network.apply("Conv", network.input(1, 16, 8, 8), network.weight(16, 16, 1, 1))
        x = network.quantized(x, Affine(1.0, 121))
        network.output(network.apply("Conv", x, network.weight(16, 1, 3, 3), group=16))
        self.check(compile_for_cpu, network)

    def test_two_activations(self, compile_for_cpu: Compile) -> None:
        network = QuantizedNetwork()
        left = network.quantized(network.input(2, 5, 12), ACTIVATIONS)
        right = network.quantized(network.input(2, 12, 7), SIGNED_ACTIVATIONS)
        network.output(network.apply("MatMul", left, right))
        self.check(compile_for_cpu, network)
