"""Pooling between convolutions: what ONNX Runtime computes, with its rules for the edges."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.epilogues import EPILOGUES, apply_epilogue
from tests.targets.cpu.networks import Network, assert_agrees

FAMILIES = {"MaxPool": "max_pooling", "AveragePool": "average_pooling"}


@dataclasses.dataclass(frozen=True)
class Layer:
    operator: str
    batch: int | str
    channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    ceil_mode: bool
    count_include_pad: bool

    def is_valid(self) -> bool:
        """Whether ONNX Runtime takes it: padding is smaller than the window, which fits."""
        return all(
            before < kernel and after < kernel and size + before + after >= kernel
            for size, before, after, kernel in zip(
                self.size, self.pads[:2], self.pads[2:], self.kernel, strict=True
            )
        )

    def network(self, epilogue: str = "none", shape: tuple[int | str, ...] = ()) -> Network:
        network = Network()
        x = network.input(self.batch, self.channels, *self.size)
        # The layout between layers is that of convolutions.
        ones = network.constant(np.ones((self.channels, 1, 1, 1), np.float32))
        x = network.apply("Conv", x, ones, group=self.channels)
        attributes: dict[str, object] = {
            "kernel_shape": self.kernel, "strides": self.strides, "pads": self.pads,
            "ceil_mode": int(self.ceil_mode),
        }  # fmt: skip
        if self.operator == "AveragePool":
            attributes["count_include_pad"] = int(self.count_include_pad)
        y = network.apply(self.operator, x, **attributes)
        network.output(apply_epilogue(network, epilogue, y, shape, axis=1) if shape else y)
        return network


layers = st.builds(
    Layer,
    operator=st.sampled_from(sorted(FAMILIES)),
    batch=st.sampled_from([1, 1, 3, "N"]),
    channels=st.sampled_from([2, 3, 7, 8, 13, 16, 24, 33]),
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    ceil_mode=st.booleans(),
    count_include_pad=st.booleans(),
).filter(Layer.is_valid)

LAYER = Layer("MaxPool", 1, 20, (13, 15), (3, 3), (2, 2), (1, 1, 1, 1), False, False)


@pytest.mark.slow
@settings(max_examples=examples(30), deadline=None)
@given(layers)
def test_agrees_with_onnx_runtime(compile_for_cpu: Compile, layer: Layer) -> None:
    network = layer.network()
    compiled = compile_for_cpu(network.model())
    # Windows that stand out of a padding that counts have counts of their own, by plain loops.
    own_counts = layer.operator == "AveragePool" and layer.ceil_mode and layer.count_include_pad
    assert own_counts or FAMILIES[layer.operator] in compiled.kernels.values()
    for batch in (1, 3) if layer.batch == "N" else (1,):
        assert_agrees(compiled, network, N=batch)


@pytest.mark.parametrize("operator", sorted(FAMILIES))
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_what_follows_is_computed_in_the_same_kernel(
    compile_for_cpu: Compile, operator: str, epilogue: str
) -> None:
    layer = dataclasses.replace(LAYER, operator=operator)
    network = layer.network(epilogue, (1, 20, 7, 8))
    compiled = compile_for_cpu(network.model())
    families = sorted(compiled.kernels.values())
    assert families.count(FAMILIES[operator]) == 1
    assert set(families) <= {FAMILIES[operator], "depthwise", "loops"}
    assert_agrees(compiled, network)


@pytest.mark.parametrize("operator", sorted(FAMILIES))
def test_a_window_as_large_as_the_image(compile_for_cpu: Compile, operator: str) -> None:
    layer = Layer(operator, 2, 40, (7, 9), (7, 9), (1, 1), (0, 0, 0, 0), False, False)
    assert_agrees(compile_for_cpu(layer.network().model()), layer.network())


def test_a_maximum_of_negative_values_at_the_edge_is_negative(compile_for_cpu: Compile) -> None:
    network = LAYER.network()
    compiled = compile_for_cpu(network.model())
    (inputs,) = network.random_inputs().values()
    (result,) = compiled(-1.0 - np.abs(inputs))
    assert (result <= -1.0).all()


@pytest.mark.parametrize("operator", sorted(FAMILIES))
def test_threads_do_not_change_a_bit(compile_for_cpu: Compile, operator: str) -> None:
    layer = Layer(operator, 2, 129, (60, 61), (3, 3), (2, 2), (1, 1, 1, 1), False, False)
    network = layer.network()
    compiled = compile_for_cpu(network.model())
    inputs = network.random_inputs().values()
    (expected,) = compiled(*inputs, threads=1)
    (actual,) = compiled(*inputs, threads=2)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("mcpu", ["x86-64", "haswell", "znver4", "generic"])
def test_every_processor_gets_code(compile_for_cpu: Compile, mcpu: str) -> None:
    compiled = compile_for_cpu(LAYER.network().model(), mcpu)
    assert "max_pooling" in compiled.kernels.values()
