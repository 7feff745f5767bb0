"""Element-wise operators in each form that models have them stay behind their convolution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees, normal

CHANNELS, HEIGHT, WIDTH = 9, 5, 7
Follow = Callable[[Network, str], str]

SHAPES = [
    (), (1,), (1, 1), (CHANNELS, 1, 1), (1, CHANNELS, 1, 1), (WIDTH,), (HEIGHT, WIDTH),
    (CHANNELS, HEIGHT, WIDTH), (2, CHANNELS, HEIGHT, WIDTH),
]  # fmt: skip


def convolution(network: Network) -> str:
    x = network.input(2, 6, HEIGHT, WIDTH)
    return network.apply("Conv", x, network.weight(CHANNELS, 6, 1, 1))


def assert_fused(compile_for_cpu: Compile, follow: Follow) -> None:
    """Asserts that convolution and what follows are one kernel, transposes at the borders aside."""
    network = Network()
    network.output(follow(network, convolution(network)))
    compiled = compile_for_cpu(network.model())
    assert compiled.work == ["matmul"], list(compiled.kernels)
    assert_agrees(compiled, network)


def positive(shape: tuple[int, ...]) -> np.ndarray:
    return np.abs(normal(*shape)) + np.float32(0.5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_constant_of_any_shape_on_either_side(
    compile_for_cpu: Compile, shape: tuple[int, ...]
) -> None:
    def follow(network: Network, y: str) -> str:
        for operator in ("Add", "Mul", "Max", "Min"):
            y = network.apply(operator, y, network.constant(normal(*shape, seed=1)))
            y = network.apply(operator, network.constant(normal(*shape, seed=2)), y)
        for operator in ("Sub", "Div"):
            y = network.apply(operator, y, network.constant(positive(shape)))
        return y

    assert_fused(compile_for_cpu, follow)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1)], ids=str)
def test_a_scalar_on_the_left_of_what_does_not_commute(
    compile_for_cpu: Compile, shape: tuple[int, ...]
) -> None:
    def follow(network: Network, y: str) -> str:
        y = network.apply("Sub", network.constant(positive(shape)), y)
        return network.apply("Div", network.constant(positive(shape)), network.apply("Exp", y))

    assert_fused(compile_for_cpu, follow)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("LeakyRelu", {"alpha": 0.2}),
        ("HardSwish", {}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("Softplus", {}),
        ("Elu", {"alpha": 0.7}),
    ],
)
def test_activations(compile_for_cpu: Compile, operator: str, attributes: dict[str, float]) -> None:
    assert_fused(compile_for_cpu, lambda network, y: network.apply(operator, y, **attributes))


@pytest.mark.parametrize("shape", [(1,), (CHANNELS, 1, 1)], ids=str)
def test_slopes_of_one_or_of_all_channels(compile_for_cpu: Compile, shape: tuple[int, ...]) -> None:
    assert_fused(
        compile_for_cpu,
        lambda network, y: network.apply("PRelu", y, network.constant(normal(*shape))),
    )


def test_a_variable_of_lower_rank(compile_for_cpu: Compile) -> None:
    network = Network()
    y = network.apply("Add", convolution(network), network.input(CHANNELS, 1, 1))
    network.output(network.apply("Mul", network.input(WIDTH), y))
    compiled = compile_for_cpu(network.model())
    assert "fused_conv2d_add_multiply" in compiled.kernels
    assert_agrees(compiled, network)


def test_tensors_that_are_no_images_keep_their_ranks(compile_for_cpu: Compile) -> None:
    network = Network()
    y = network.apply("GlobalAveragePool", convolution(network))
    y = network.apply("Flatten", y)
    y = network.apply("Add", y, network.constant(normal(CHANNELS)))
    network.output(network.apply("Mul", network.constant(normal(1)), y))
    assert_agrees(compile_for_cpu(network.model()), network)
