"""NaN, infinities, signed zeros, subnormal and huge numbers go through all kinds of kernels as in
ONNX Runtime without optimizations, in whole vectors, in what is left over, and in scalars.

Where ONNX Runtime's own result depends on where in a tensor a NaN is (extrema and pooling), NaN is
the result wherever it is one of the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import pytest

from ingot.reference.session import Reference
from ingot.runtime.cpu_features import machine_architecture
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network
from tests.targets.cpu.special_values import LENGTHS, assert_same, sown, sown_rows

Build = Callable[..., str]
X86 = machine_architecture() == "x86_64"


def compare(
    compile_for_cpu: Compile,
    cases: dict[str, Build],
    inputs: Sequence[np.ndarray],
    *,
    mcpu: str = "native",
    rtol: float = 1e-5,
    atol: float = 0.0,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Compiles all cases as one model; compares with ONNX Runtime, or returns both."""
    network = Network()
    names = [network.input(*array.shape) for array in inputs]
    for build in cases.values():
        network.output(build(network, *names))
    model = network.model()
    expected = Reference(ir.from_proto(model)).run(dict(zip(names, inputs, strict=True)))
    found = compile_for_cpu(model, mcpu)(*inputs)
    results = {
        name: (mine, np.asarray(theirs))
        for name, mine, theirs in zip(cases, found, expected.values(), strict=True)
    }
    for name, (mine, theirs) in results.items():
        assert_same(name, mine, theirs, rtol=rtol, atol=atol)
    return results


def plain(operator: str, **attributes: object) -> Build:
    return lambda network, *values: network.apply(operator, *values, **attributes)


def against(operator: str, constant: float, *, first: bool = False) -> Build:
    def build(network: Network, x: str) -> str:
        operands = [x, network.constant(constant)]
        return network.apply(operator, *(reversed(operands) if first else operands))

    return build


def chain(*builds: Build) -> Build:
    def build(network: Network, x: str) -> str:
        for step in builds:
            x = step(network, x)
        return x

    return build


def clipped(network: Network, x: str) -> str:
    return network.apply("Clip", x, network.constant(-1.0), network.constant(6.0))


def cleaned(network: Network, x: str) -> str:
    isnan = network.apply("IsNaN", network.apply("Clip", x, network.constant(-9.0)))
    return network.apply("Where", isnan, network.constant(-99.0), x)


ACTIVATIONS: dict[str, Build] = {
    **{
        name: plain(name)
        for name in (
            "Relu", "LeakyRelu", "HardSwish", "HardSigmoid", "Elu", "Selu", "Celu", "Sign", "Abs",
            "Neg", "Floor", "Ceil", "Round", "Sqrt", "Reciprocal", "ThresholdedRelu", "Softsign",
        )
    },
    "Clip": clipped,
    "Elu of 2": plain("Elu", alpha=2.0),
    "Celu of 2": plain("Celu", alpha=2.0),
    "Shrink": plain("Shrink", lambd=1.0, bias=0.5),
    "HardSigmoid of its own": plain("HardSigmoid", alpha=0.3, beta=0.1),
    "ThresholdedRelu below zero": plain("ThresholdedRelu", alpha=-1.0),
}  # fmt: skip
FUNCTIONS = {
    name: plain(name) for name in ("Exp", "Log", "Sigmoid", "Tanh", "Erf", "Softplus", "Mish")
} | {"Gelu": plain("Gelu"), "Gelu by tanh": plain("Gelu", approximate="tanh")}
ARITHMETIC: dict[str, Build] = {
    "x * 0": against("Mul", 0.0),
    "0 * x": against("Mul", 0.0, first=True),
    "x / 0": against("Div", 0.0),
    "0 / x": against("Div", 0.0, first=True),
    "1 / (x + 0)": chain(against("Add", 0.0), plain("Reciprocal")),
    "x - x": lambda network, x: network.apply("Sub", x, x),
    "x / x": lambda network, x: network.apply("Div", x, x),
    "x == x": lambda network, x: network.apply("Equal", x, x),
    "x != x": lambda network, x: network.apply("Not", network.apply("Equal", x, x)),
    "x + c - c rounds": chain(against("Add", 12582912.0), against("Sub", 12582912.0)),
    "not (x < 0)": chain(against("Less", 0.0), plain("Not")),
    "not (x >= 0)": chain(against("GreaterOrEqual", 0.0), plain("Not")),
    "max(x, 0)": against("Max", 0.0),
    "max(0, x)": against("Max", 0.0, first=True),
    "min(x, 1/4)": against("Min", 0.25),
    "IsNaN": plain("IsNaN"),
    "IsInf": plain("IsInf"),
    "IsInf, positive": plain("IsInf", detect_negative=0),
    "IsInf, negative": plain("IsInf", detect_positive=0),
    "IsInf, neither": plain("IsInf", detect_negative=0, detect_positive=0),
    "cleaned": cleaned,
} | {f"x ** {power}": against("Pow", power) for power in (2.0, 3.0, 0.5, -1.0, -0.5, 0.0, 1.5)}
PAIRS: dict[str, Build] = {
    **{
        name: plain(name)
        for name in (
            "Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Less", "LessOrEqual", "Greater",
            "GreaterOrEqual", "Equal", "PRelu", "Mean",
        )
    },
    "fmod": plain("Mod", fmod=1),
    "(x + y) - y": lambda network, x, y: network.apply("Sub", network.apply("Add", x, y), y),
    "max of several": lambda network, x, y: network.apply("Max", x, network.constant(0.0), y, x),
    "where": lambda network, x, y: network.apply("Where", network.apply("Less", x, y), x, y),
}  # fmt: skip


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("cases", [ACTIVATIONS, ARITHMETIC], ids=["activations", "arithmetic"])
def test_of_one_value(compile_for_cpu: Compile, cases: dict[str, Build], length: int) -> None:
    compare(compile_for_cpu, cases, [sown(length)])


@pytest.mark.parametrize("length", LENGTHS)
def test_functions(compile_for_cpu: Compile, length: int) -> None:
    """To an error that is small against one: ONNX Runtime's sigmoid and tanh are no better."""
    compare(compile_for_cpu, FUNCTIONS, [sown(length)], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_of_two_values(compile_for_cpu: Compile, length: int) -> None:
    compare(compile_for_cpu, PAIRS, [sown(length), sown(length, seed=1)])


@pytest.mark.skipif(not X86, reason="names x86's processors")
@pytest.mark.parametrize("mcpu", ["x86-64-v2", "haswell"])
def test_on_other_processors(compile_for_cpu: Compile, mcpu: str) -> None:
    compare(compile_for_cpu, ACTIVATIONS | ARITHMETIC, [sown(37)], mcpu=mcpu)
    compare(compile_for_cpu, PAIRS, [sown(37), sown(37, seed=1)], mcpu=mcpu)


def convolved(channels: int, kind: str) -> Build:
    def build(network: Network, x: str) -> str:
        if kind == "depthwise":
            return network.apply("Conv", x, network.weight(channels, 1, 3, 3), group=channels,
                                 pads=[1] * 4)  # fmt: skip
        if kind == "pointwise":
            return network.apply("Conv", x, network.weight(37, channels, 1, 1))
        return network.apply("Conv", x, network.weight(37, channels, 3, 3), pads=[1] * 4)

    return build


@pytest.mark.parametrize("kind", ["depthwise", "pointwise", "3x3"])
def test_behind_a_convolution(compile_for_cpu: Compile, kind: str) -> None:
    image = sown_image(20, 7, 9)
    names = ("Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid", "Elu", "Sign")
    cases = {name: chain(convolved(20, kind), ACTIVATIONS[name]) for name in names}
    cases["Sigmoid"] = chain(convolved(20, kind), plain("Sigmoid"))
    compare(compile_for_cpu, cases, [image], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("zero_point", [np.uint8(10), np.int8(0), np.int8(-5)])
def test_quantization_saturates(compile_for_cpu: Compile, zero_point: np.generic) -> None:
    """NaN becomes the least integer."""

    def quantized(network: Network, x: str) -> str:
        scale, zero = network.constant(0.5), network.constant(np.asarray(zero_point))
        return network.apply("QuantizeLinear", x, scale, zero)

    values = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3e9, -3e9, 1.2] * 9, np.float32)
    compare(compile_for_cpu, {"quantized": quantized}, [values])


def test_behind_a_matmul(compile_for_cpu: Compile) -> None:
    def product(network: Network, x: str) -> str:
        return network.apply("MatMul", x, network.weight(20, 37, terms=20))

    cases = {name: chain(product, ACTIVATIONS[name]) for name in ("Relu", "Clip", "Elu")}
    compare(compile_for_cpu, cases, [sown_image(20, 1, 20)[0, :, 0]], rtol=1e-4, atol=2e-5)


def sown_image(channels: int, height: int, width: int) -> np.ndarray:
    """An image with a few NaN and infinite pixels, and a channel without a finite one."""
    generator = np.random.default_rng(3)
    image = generator.normal(size=(1, channels, height, width)).astype(np.float32)
    chosen = generator.random(image.shape) < 0.01
    image[chosen] = generator.choice([np.nan, np.inf, -np.inf], chosen.sum())
    image[0, 1] = -np.inf
    return image


POOLS = {
    "2x2": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "3x3": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "5x5": {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]},
}


def pooled(image: np.ndarray, attributes: dict[str, list[int]]) -> np.ndarray:
    """The maximum over windows: NaN where there is one, -inf where there is nothing else."""
    before = attributes.get("pads", [0, 0])[0]
    widths = [(0, 0), (0, 0), (before, before), (before, before)]
    padded = np.pad(image, widths, constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, tuple(attributes["kernel_shape"]), axis=(2, 3)
    )
    step = attributes.get("strides", [1, 1])[0]
    return np.asarray(windows[:, :, ::step, ::step].max(axis=(4, 5)))


def test_maxima_of_windows(compile_for_cpu: Compile) -> None:
    image = sown_image(20, 9, 11)
    network = Network()
    x = network.input(*image.shape)
    y = network.apply("Conv", x, network.constant(np.ones((20, 1, 1, 1), "f")), group=20)
    for attributes in POOLS.values():
        network.output(network.apply("MaxPool", y, **attributes))
    network.output(network.apply("GlobalMaxPool", y))
    compiled = compile_for_cpu(network.model())
    assert "max_pooling" in compiled.kernels.values()
    *found, of_all = compiled(image)
    for name, result in zip(POOLS, found, strict=True):
        np.testing.assert_array_equal(result, pooled(image, POOLS[name]), err_msg=name)
    np.testing.assert_array_equal(of_all, image.max(axis=(2, 3), keepdims=True))


SHAPES = [(20, 85), (5, 4, 37), (20, 5), (3, 2, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_extrema_of_axes(compile_for_cpu: Compile, shape: tuple[int, ...]) -> None:
    data = sown_rows(*shape)
    network = Network()
    x = network.input(*shape)
    expected = []
    for operator, reference in (("ReduceMax", np.max), ("ReduceMin", np.min)):
        for axis in range(len(shape)):
            axes = network.constant(np.array([axis]))
            network.output(network.apply(operator, x, axes, keepdims=0))
            expected.append(reference(data, axis=axis))
    for found, wanted in zip(compile_for_cpu(network.model())(data), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_positions_and_sums_of_axes(compile_for_cpu: Compile, shape: tuple[int, ...]) -> None:
    cases: dict[str, Build] = {}
    for axis in range(len(shape)):
        cases |= {
            f"{operator} {axis}": plain(operator, axis=axis)
            for operator in ("Softmax", "LogSoftmax")
        }
        for last in (0, 1):
            attributes = {"axis": axis, "select_last_index": last}
            cases[f"ArgMax {axis} {last}"] = plain("ArgMax", **attributes)
            cases[f"ArgMin {axis} {last}"] = plain("ArgMin", **attributes, keepdims=0)
    compare(compile_for_cpu, cases, [sown_rows(*shape)], rtol=1e-4, atol=1e-6)
