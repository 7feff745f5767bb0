"""Depthwise convolution: what ONNX Runtime computes, for any image, kernel, step and padding."""

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

# Below, at and above the vectors of every processor, and what divides by nothing.
CHANNELS = st.sampled_from([2, 3, 7, 8, 13, 16, 24, 33])


@dataclasses.dataclass(frozen=True)
class Layer:
    batch: int | str
    channels: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    def fits(self) -> bool:
        """Whether the kernel fits into the padded image."""
        return all(
            size + before + after >= (kernel - 1) * dilation + 1
            for size, before, after, kernel, dilation in zip(
                self.size, self.pads[:2], self.pads[2:], self.kernel, self.dilations, strict=True
            )
        )

    def network(self, epilogue: str = "none") -> Network:
        network = Network()
        x = network.input(self.batch, self.channels, *self.size)
        w = network.weight(self.channels, 1, *self.kernel)
        y = network.apply(
            "Conv", x, w, group=self.channels, strides=self.strides, pads=self.pads,
            dilations=self.dilations,
        )  # fmt: skip
        shape = (self.batch, self.channels, *self.result)
        network.output(apply_epilogue(network, epilogue, y, shape, axis=1))
        return network

    @property
    def result(self) -> tuple[int, ...]:
        """Height and width of the result."""
        return tuple(
            (size + before + after - (kernel - 1) * dilation - 1) // stride + 1
            for size, before, after, kernel, dilation, stride in zip(
                self.size, self.pads[:2], self.pads[2:], self.kernel, self.dilations, self.strides,
                strict=True,
            )
        )  # fmt: skip


def pairs(elements: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(elements, elements)


layers = st.builds(
    Layer,
    batch=st.sampled_from([1, 1, 3, "N"]),
    channels=CHANNELS,
    size=pairs(st.integers(1, 17)),
    kernel=pairs(st.integers(1, 7)),
    strides=pairs(st.integers(1, 3)),
    dilations=pairs(st.sampled_from([1, 1, 2, 3])),
    pads=st.tuples(*[st.integers(0, 4)] * 4),
).filter(Layer.fits)

# A layer of a mobile network, with asymmetric padding and a last vector that is not full.
LAYER = Layer(1, 20, (13, 15), (3, 3), (2, 2), (1, 1), (0, 0, 1, 1))


def families(compiled: object) -> set[str]:
    return set(compiled.kernels.values())  # type: ignore[attr-defined]


@settings(max_examples=examples(25), deadline=None)
@given(layers)
def test_agrees_with_onnx_runtime(compile_for_cpu: Compile, layer: Layer) -> None:
    network = layer.network()
    compiled = compile_for_cpu(network.model())
    assert "depthwise" in families(compiled)
    for batch in (1, 3) if layer.batch == "N" else (1,):
        assert_agrees(compiled, network, N=batch)


@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_what_follows_is_computed_in_the_same_kernel(
    compile_for_cpu: Compile, epilogue: str
) -> None:
    network = LAYER.network(epilogue)
    compiled = compile_for_cpu(network.model())
    assert sorted(compiled.kernels.values()).count("depthwise") == 1
    # Besides it, only the layout's transposes at the network's borders are left.
    assert families(compiled) <= {"depthwise", "loops"}
    assert_agrees(compiled, network)


@pytest.mark.parametrize("size", [(33, 29), (1, 40), (40, 1)])
@pytest.mark.parametrize("kernel", [11, 31])
def test_large_kernels_loop_over_their_rows(
    compile_for_cpu: Compile, kernel: int, size: tuple[int, int]
) -> None:
    pads = (kernel // 2,) * 4
    layer = Layer(1, 12, size, (kernel, kernel), (1, 1), (1, 1), pads)
    assert_agrees(compile_for_cpu(layer.network().model()), layer.network())


def test_several_filters_per_channel(compile_for_cpu: Compile) -> None:
    network = Network()
    x = network.input(1, 6, 9, 9)
    network.output(network.apply("Conv", x, network.weight(12, 1, 3, 3), group=6, pads=[1] * 4))
    assert_agrees(compile_for_cpu(network.model()), network)


@pytest.mark.parametrize("batch", [1, 3, "N"])
def test_threads_do_not_change_a_bit(compile_for_cpu: Compile, batch: int | str) -> None:
    layer = Layer(batch, 129, (30, 31), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    network = layer.network("silu")
    compiled = compile_for_cpu(network.model())
    inputs = network.random_inputs(N=3).values()
    (expected,) = compiled(*inputs, threads=1)
    for threads in (1, 2, 2):
        (actual,) = compiled(*inputs, threads=threads)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("mcpu", ["x86-64", "haswell", "znver4", "generic"])
def test_every_processor_gets_code(compile_for_cpu: Compile, mcpu: str) -> None:
    assert "depthwise" in families(compile_for_cpu(LAYER.network("silu").model(), mcpu))
