"""Convolution to few output channels, whose lanes are channels of the image."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.runtime.cpu_features import machine_architecture
from tests.examples import examples
from tests.targets.cpu.assembly import accumulating_loops
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.convolutions import Layer, check, pairs
from tests.targets.cpu.epilogues import EPILOGUES, apply_epilogue
from tests.targets.cpu.networks import Network, assert_agrees, assert_same_bits_on_threads
from tests.targets.cpu.processors import NEON

X86 = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's registers")
SAME_3X3 = Layer((9, 13), (3, 3), 32, 3, pads=(1, 1, 1, 1))


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(SAME_3X3, id="to colours"),
        pytest.param(dataclasses.replace(SAME_3X3, filters=1, batch="N"), id="to one"),
        pytest.param(dataclasses.replace(SAME_3X3, channels=24, batch=2), id="narrower vectors"),
        pytest.param(dataclasses.replace(SAME_3X3, strides=(2, 3)), id="steps"),
        pytest.param(dataclasses.replace(SAME_3X3, dilations=(1, 2)), id="taps apart"),
        pytest.param(
            Layer((11, 8), (9, 9), 16, 2, pads=(4, 1, 3, 8)), id="kernel larger than the image"
        ),
    ],
)
def test_layers(compile_for_cpu: Compile, layer: Layer) -> None:
    check(compile_for_cpu, layer, "few_columns")


layers = st.builds(
    Layer,
    batch=st.sampled_from([1, 3, "N"]),
    channels=st.sampled_from([4, 8, 12, 16, 40]),
    filters=st.integers(1, 5),
    size=pairs(st.integers(1, 15)),
    kernel=st.tuples(st.integers(1, 5), st.integers(2, 5)),
    strides=pairs(st.integers(1, 3)),
    dilations=pairs(st.sampled_from([1, 1, 2])),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
).filter(Layer.fits)


# Each example is a compilation.
@settings(max_examples=examples(8))
@given(layers)
def test_any_layer(compile_for_cpu: Compile, layer: Layer) -> None:
    network = layer.network()
    compiled = compile_for_cpu(network.model())
    assert {"few_columns", "convolution"} & set(compiled.work)
    assert_agrees(compiled, network, N=2)


def test_fused_epilogues(compile_for_cpu: Compile) -> None:
    network = Network()
    for kind in EPILOGUES:
        y = Layer((5, 6), (2, 2), 16, 3, batch=2).add_to(network)
        network.output(apply_epilogue(network, kind, y, (2, 3, 4, 5), axis=1))
    compiled = compile_for_cpu(network.model())
    assert compiled.work == ["few_columns"] * len(EPILOGUES)
    assert_agrees(compiled, network)


def test_threads_do_not_change_a_bit(compile_for_cpu: Compile) -> None:
    network = dataclasses.replace(SAME_3X3, size=(60, 61), channels=64).network()
    compiled = compile_for_cpu(network.model())
    assert_same_bits_on_threads(compiled, network)


@X86
@pytest.mark.parametrize(("mcpu", "register"), [("haswell", "ymm"), ("znver4", "zmm")])
def test_accumulators_stay_in_registers(compile_for_cpu: Compile, mcpu: str, register: str) -> None:
    layer = dataclasses.replace(SAME_3X3, size=(28, 28), channels=64)
    compiled = compile_for_cpu(layer.network().model(), mcpu=mcpu)
    assert compiled.work == ["few_columns"]
    loops = accumulating_loops(compiled.assembly, register)
    assert loops
    for loop in loops:
        assert not loop.spills, str(loop)


def test_code_for_neon(compile_for_cpu: Compile) -> None:
    layer = SAME_3X3
    compiled = compile_for_cpu(layer.network().model(), NEON)
    assert compiled.work == ["few_columns"]
    assert re.search(r"fmla\tv\d+\.4s", compiled.assembly)
