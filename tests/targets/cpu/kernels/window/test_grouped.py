"""Groups of few channels: several share a vector, whose pixels are permuted."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.kernels.window.grouped import vector_runs
from tests.examples import examples
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.convolutions import Layer, check, pairs
from tests.targets.cpu.epilogues import EPILOGUES, apply_epilogue
from tests.targets.cpu.networks import Network, assert_agrees, assert_same_bits_on_threads
from tests.targets.cpu.processors import NEON

X86 = pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's registers")
ResNeXt = Layer((9, 11), (3, 3), 32, 32, pads=(1, 1, 1, 1), groups=8)


@given(
    groups=st.integers(2, 40),
    inputs=st.integers(1, 12),
    filters=st.integers(1, 12),
    lanes=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_vectors_read_the_channels_of_their_lanes_groups(
    groups: int, inputs: int, filters: int, lanes: int
) -> None:
    channels = groups * filters
    if lanes > channels:
        return
    runs = vector_runs(groups, inputs, filters, lanes)
    if runs is None:
        assert lanes > 1 or filters > lanes
        return
    computed = set()
    for run in runs:
        for vector in range(run.count):
            first = run.channel + vector * run.step
            source = run.source + vector * run.source_step
            assert source >= 0
            assert source + run.loads * run.width <= groups * inputs, "beyond the image"
            for lane, place in enumerate(run.places):
                assert source + place == (first + lane) // filters * inputs
                assert place >= 0
                assert place + inputs <= run.loads * run.width, "not among what was loaded"
            computed.update(range(first, first + lanes))
    assert computed == set(range(channels))


@pytest.mark.parametrize(
    "layer",
    [
        pytest.param(ResNeXt, id="as many out as in"),
        pytest.param(dataclasses.replace(ResNeXt, batch="N"), id="open batch"),
        pytest.param(dataclasses.replace(ResNeXt, strides=(2, 2)), id="every second pixel"),
        pytest.param(dataclasses.replace(ResNeXt, channels=16), id="more out than in"),
        pytest.param(dataclasses.replace(ResNeXt, channels=64), id="more in than out"),
        pytest.param(Layer((8, 7), (3, 3), 33, 33, groups=11), id="three channels"),
        pytest.param(Layer((8, 7), (3, 3), 40, 24, groups=8), id="five to three"),
        pytest.param(Layer((8, 9), (3, 3), 19, 38, groups=19), id="two filters per channel"),
        pytest.param(
            Layer((8, 9), (3, 5), 34, 17, pads=(1, 0, 2, 3), dilations=(2, 1), groups=17, batch=2),
            id="one filter of two channels",
        ),
    ],
)
def test_groups_that_share_a_vector(compile_for_cpu: Compile, layer: Layer) -> None:
    check(compile_for_cpu, layer, "grouped_convolution")


@st.composite
def grouped_layers(draw: st.DrawFn) -> Layer:
    groups = draw(st.integers(2, 20))
    return Layer(
        draw(pairs(st.integers(1, 14))),
        draw(pairs(st.integers(1, 5))),
        groups * draw(st.integers(1, 9)),
        groups * draw(st.integers(1, 9)),
        draw(pairs(st.integers(1, 3))),
        draw(st.tuples(*[st.integers(0, 3)] * 4)),
        draw(pairs(st.sampled_from([1, 1, 2]))),
        groups,
        draw(st.sampled_from([1, 2, "N"])),
    )


# Each example is a compilation.
@settings(max_examples=examples(10))
@given(grouped_layers().filter(Layer.fits), st.sampled_from(["native", "haswell"]))
def test_any_layer(compile_for_cpu: Compile, layer: Layer, mcpu: str) -> None:
    if machine_architecture() != "x86_64":
        mcpu = "native"
    network = layer.network()
    compiled = compile_for_cpu(network.model(), mcpu)
    assert {"convolution", "depthwise", "grouped_convolution"} & set(compiled.work)
    assert_agrees(compiled, network, N=3)


def test_fused_epilogues(compile_for_cpu: Compile) -> None:
    network = Network()
    for kind in EPILOGUES:
        y = Layer((5, 6), (2, 2), 40, 40, batch=2, groups=10).add_to(network)
        network.output(apply_epilogue(network, kind, y, (2, 40, 4, 5), axis=1))
    compiled = compile_for_cpu(network.model())
    assert compiled.work == ["grouped_convolution"] * len(EPILOGUES)
    assert_agrees(compiled, network)


def test_threads_do_not_change_a_bit(compile_for_cpu: Compile) -> None:
    network = dataclasses.replace(ResNeXt, size=(40, 41), channels=60, filters=60, groups=15)
    network = network.network()
    compiled = compile_for_cpu(network.model())
    assert_same_bits_on_threads(compiled, network)


@X86
@pytest.mark.parametrize(("mcpu", "register"), [("haswell", "ymm"), ("znver4", "zmm")])
def test_accumulators_stay_in_registers(compile_for_cpu: Compile, mcpu: str, register: str) -> None:
    layer = dataclasses.replace(ResNeXt, size=(28, 28), channels=64, filters=64, groups=16)
    compiled = compile_for_cpu(layer.network().model(), mcpu=mcpu)
    assert compiled.work == ["grouped_convolution"]
    assert re.search(rf"vfmadd\d+ps\t.*%{register}", compiled.assembly)
    on_stack = re.findall(rf".*%{register}\d+, -?\d*\(%rsp\).*", compiled.assembly)
    assert not on_stack, "\n".join(on_stack)


def test_code_for_neon(compile_for_cpu: Compile) -> None:
    layer = Layer((9, 11), (3, 3), 32, 32, pads=(1, 1, 1, 1), groups=16)
    compiled = compile_for_cpu(layer.network().model(), NEON)
    assert compiled.work == ["grouped_convolution"]
    assert re.search(r"fmla\tv\d+\.4s", compiled.assembly)
