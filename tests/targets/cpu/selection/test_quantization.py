"""Quantization as the end of an epilogue: rounds half to even, saturates, costs no bounds twice."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.reference.session import Reference
from tests.examples import examples
from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.quantized_networks import (
    ACTIVATIONS,
    Affine,
    Layer,
    QuantizedNetwork,
    assert_rounded,
    assert_same_bits,
    many_inputs,
)

LAYER = Layer((7, 8), (2, 2), 8, 19)
_OF_AN_INPUT = re.compile(
    r"transpose\d*|fused_multiply\d*_quantize\d*"
    r"|fused_cast\d*(_subtract\d*)?_multiply\d*_transpose\d*"
)
UNSIGNED = [Affine(0.25, zero_point) for zero_point in (0, 1, 128, 255)]
SIGNED = [Affine(0.25, zero_point, "int8") for zero_point in (-128, -5, 0, 127)]


def awkward_values() -> np.ndarray:
    """Halves between integers, their neighbours, both zeros, and values far out of range."""
    halves = (np.arange(-300, 300, dtype=np.float32) + 0.5) * np.float32(0.25)
    neighbours = [np.nextafter(halves, np.float32(end)) for end in (-np.inf, np.inf)]
    powers = np.exp2(np.arange(-126, 128)).astype(np.float32)
    special = np.array([0.0, -0.0, 1e-45, 3e38, np.inf, 2**31, 2**31 - 64, 2**32, 2**63], "f")
    return np.concatenate([halves, *neighbours, powers, -powers, special, -special])


@pytest.mark.parametrize("affine", UNSIGNED + SIGNED, ids=str)
def test_of_any_value(compile_for_cpu: Compile, affine: Affine) -> None:
    values = awkward_values()
    network = QuantizedNetwork()
    network.integers(network.input(len(values)), affine)
    (actual,) = compile_for_cpu(network.model())(values)
    assert actual.dtype == affine.dtype
    np.testing.assert_array_equal(actual, affine.quantize(values))


@settings(max_examples=examples(8))
@given(
    st.floats(2.0**-20, 2.0**20, width=32),
    st.one_of(
        st.tuples(st.integers(0, 255), st.just("uint8")),
        st.tuples(st.integers(-128, 127), st.just("int8")),
    ),
)
def test_with_any_scale(compile_for_cpu: Compile, scale: float, zero: tuple[int, str]) -> None:
    affine = Affine(scale, *zero)
    network = QuantizedNetwork()
    network.integers(network.input(997), affine)
    values = many_inputs(997) * np.float32(scale * 100)
    (actual,) = compile_for_cpu(network.model())(values)
    assert_rounded(actual, values.astype(np.float64), affine, 0)


def test_per_channel(compile_for_cpu: Compile) -> None:
    network = QuantizedNetwork()
    scales = network.constant(np.exp2(np.arange(-5, 0)).astype(np.float32))
    zeros = network.constant(np.zeros(5, np.int8))
    x = network.apply("QuantizeLinear", network.input(2, 5, 3, 3), scales, zeros, axis=1)
    network.output(network.apply("DequantizeLinear", x, scales, zeros, axis=1))
    assert_same_bits(compile_for_cpu(network.model()), network)


# Exact in float32 for these networks, so that every bit is ONNX Runtime's.
EXACT = (
    "none",
    "relu",
    "relu6",
    "clip",
    "clip, scalar",
    "leaky relu",
    "scale per channel",
    "residual",
    "residual, relu",
    "relu, residual",
    "two residuals",
    "residual of int8",
)
INEXACT = ("silu", "sigmoid", "hard swish", "gelu", "tanh", "residual, silu")


def apply_epilogue(network: QuantizedNetwork, kind: str, y: str) -> str:
    """Adds one of the epilogues behind the layer's result."""

    def residual(scale: float = 2.0**-5, zero_point: int = 77, dtype: str = "uint8") -> str:
        return network.quantized(network.input(1, 19, 6, 7), Affine(scale, zero_point, dtype))

    def constant(value: float) -> str:
        return network.constant(value)

    for step in kind.split(", "):
        if step == "relu":
            y = network.apply("Relu", y)
        elif step == "relu6":
            y = network.apply("Clip", y, constant(0.0), constant(6.0))
        elif step == "clip":
            y = network.apply("Clip", y, constant(-3.5), constant(2.25))
        elif step == "scalar":
            y = network.apply("Mul", y, constant(0.5))
        elif step == "leaky relu":
            y = network.apply("LeakyRelu", y, alpha=0.25)
        elif step == "scale per channel":
            scales = np.exp2(np.arange(19) % 3).astype(np.float32).reshape(19, 1, 1)
            y = network.apply("Mul", y, network.constant(scales))
        elif step == "residual":
            y = network.apply("Add", y, residual())
        elif step == "residual first":
            y = network.apply("Add", residual(), y)
        elif step == "two residuals":
            y = network.apply("Add", network.apply("Add", y, residual()), residual(2.0**-4, 0))
        elif step == "residual of int8":
            y = network.apply("Add", y, residual(2.0**-5, -7, "int8"))
        elif step == "silu":
            y = network.apply("Mul", y, network.apply("Sigmoid", y))
        elif step == "hard swish":
            y = network.apply("HardSwish", y)
        elif step in ("sigmoid", "gelu", "tanh"):
            y = network.apply(step.capitalize(), y)
        else:
            assert step == "none"
    return y


def assert_fused(compiled: Compiled) -> None:
    """What follows a layer is in its kernel; by itself is only what is done to inputs."""
    for name, family in compiled.kernels.items():
        assert family == "integer_convolution" or _OF_AN_INPUT.fullmatch(name), name


@pytest.mark.parametrize("kinds", [EXACT[::2], EXACT[1::2]], ids=", ".join)
@pytest.mark.parametrize(
    "affine",
    [Affine(2.0**-5, 0), Affine(2.0**-4, 131), Affine(2.0**-5, -100, "int8")],
    ids=["uint8", "shifted", "int8"],
)
def test_exact_epilogues(compile_for_cpu: Compile, kinds: tuple[str, ...], affine: Affine) -> None:
    # All in one model: what is computed alike is one kernel.
    network = QuantizedNetwork()
    for kind in kinds:
        network.integers(apply_epilogue(network, kind, LAYER.add_to(network)), affine)
    compiled = compile_for_cpu(network.model())
    assert_fused(compiled)
    assert_same_bits(compiled, network)


def test_other_epilogues_are_rounded_from_their_value(compile_for_cpu: Compile) -> None:
    affine = Affine(0.011, 20)
    network = QuantizedNetwork()
    values = [apply_epilogue(network, kind, LAYER.add_to(network)) for kind in INEXACT]
    for value in values:
        network.integers(value, affine)
    compiled = compile_for_cpu(network.model())
    assert_fused(compiled)
    inputs = network.random_inputs()
    floats = Reference(network.model(), expose=values).run(inputs, values)
    for actual, value in zip(compiled(*inputs.values()), values, strict=True):
        exact = floats[value].astype(np.float64)
        # Functions are off by a few units of float32's last place themselves.
        assert_rounded(actual, exact, affine, 8 * (1 + np.abs(exact)))


class TestSuperfluousBounds:
    """Bounds that integers have anyway are left out; others stay."""

    @pytest.mark.parametrize(
        ("kind", "affine", "stays"),
        [
            ("relu", Affine(0.25, 0), False),
            ("relu", Affine(0.25, -128, "int8"), False),
            ("relu", Affine(0.25, 1), True),
            ("relu", Affine(0.25, 0, "int8"), True),
            ("relu6", Affine(6 / 256, 0), False),
            ("relu6", Affine(6 / 255, 0), False),
            ("relu6", Affine(6 / 250, 0), True),
            ("relu6", Affine(6 / 255, 1), True),
            ("clip", Affine(2.0**-7, 128), False),
            ("clip", Affine(2.0**-4, 128), True),
        ],
    )
    def test_table(self, compile_for_cpu: Compile, kind: str, affine: Affine, stays: bool) -> None:
        network = QuantizedNetwork()
        value = apply_epilogue(network, kind, LAYER.add_to(network))
        network.integers(value, affine)
        compiled = compile_for_cpu(network.model())
        (kernel,) = (name for name in compiled.kernels if "conv" in name)
        bounds = ("relu", "maximum", "minimum", "clip")
        assert any(bound in kernel for bound in bounds) == stays, kernel
        inputs = network.random_inputs()
        exact = Reference(network.model(), expose=[value]).run(inputs, [value])[value]
        assert_rounded(compiled(*inputs.values())[0], exact.astype(np.float64), affine, 20)


def test_a_value_that_is_an_output_as_well(compile_for_cpu: Compile) -> None:
    # The scale must not go into constants that the other reader needs as they are.
    network = QuantizedNetwork()
    y = network.apply("Relu", LAYER.add_to(network))
    network.output(y)
    network.integers(y, Affine(0.125, 9))
    network.integers(y, Affine(0.5, 0))
    assert_same_bits(compile_for_cpu(network.model()), network)


def test_a_residual_on_the_left(compile_for_cpu: Compile) -> None:
    # An input of the network on the left decides the layout: then the sum is a kernel of its own.
    network = QuantizedNetwork()
    y = apply_epilogue(network, "residual first", LAYER.add_to(network))
    network.integers(y, Affine(2.0**-4, 131))
    assert_same_bits(compile_for_cpu(network.model()), network)


def test_a_float_result(compile_for_cpu: Compile) -> None:
    network = QuantizedNetwork()
    network.output(LAYER.add_to(network))
    compiled = compile_for_cpu(network.model())
    assert_fused(compiled)
    assert_same_bits(compiled, network)


def test_a_dequantized_result(compile_for_cpu: Compile) -> None:
    network = QuantizedNetwork()
    network.output(network.quantized(LAYER.add_to(network), LAYER.result))
    assert_same_bits(compile_for_cpu(network.model()), network)


def test_quantized_twice(compile_for_cpu: Compile) -> None:
    network = QuantizedNetwork()
    y = network.quantized(LAYER.add_to(network), ACTIVATIONS)
    network.integers(y, Affine(2.0**-5, 60))
    assert_same_bits(compile_for_cpu(network.model()), network)
