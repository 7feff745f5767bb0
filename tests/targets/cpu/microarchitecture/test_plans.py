"""Whatever a description says, code that is planned by it computes the same.

The code is this machine's; the numbers that plan it are another processor's, or of none.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.microarchitecture.description import Microarchitecture
from ingot.targets.cpu.microarchitecture.presets import presets
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees

PRESETS = {preset.title: preset.core for preset in presets()}
# Ten sums side by side, and small caches: the plans that are least like those of this machine.
SAMPLE = ("haswell",)


def planned_by(core: Microarchitecture) -> CpuDescription:
    return dataclasses.replace(describe_cpu("native", threads=2), core=core)


@functools.cache
def network() -> Network:
    """A layer of each family: images, an attention of one query, a recurrence, rows."""
    net = Network()
    image = net.input(2, 3, 29, 31)
    value = net.apply("Conv", image, net.weight(40, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    value = net.apply("Relu", value)
    value = net.apply("Conv", value, net.weight(40, 1, 3, 3), group=40, pads=[1, 1, 1, 1])
    value = net.apply("Conv", value, net.weight(72, 40, 1, 1))
    value = net.apply("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2])
    pixels = net.apply("Reshape", value, net.constant(as_sizes(2, 72, 49)))
    rows = net.apply("Transpose", pixels, perm=[0, 2, 1])
    rows = net.apply("MatMul", rows, net.weight(72, 48, terms=72))
    keys = net.apply("Transpose", net.apply("Mul", rows, net.constant(0.2)), perm=[0, 2, 1])
    scores = net.apply("MatMul", net.input(2, 1, 48), keys)
    weights = net.apply("Softmax", scores, axis=-1)
    net.output(net.apply("MatMul", weights, rows))
    gates = (net.weight(1, 4 * 20, 48, terms=48), net.weight(1, 4 * 20, 20, terms=20))
    steps = net.apply("Transpose", rows, perm=[1, 0, 2])
    net.output(net.apply("LSTM", steps, *gates, hidden_size=20))
    net.output(net.apply("ReduceMean", rows, net.constant(as_sizes(1))))
    return net


def as_sizes(*sizes: int) -> np.ndarray:
    return np.array(sizes, np.int64)


@pytest.mark.parametrize(
    "title",
    [pytest.param(title, marks=[] if title in SAMPLE else pytest.mark.slow) for title in PRESETS],
)
def test_results_are_right_by_any_preset(compile_for_cpu: Compile, title: str) -> None:
    assert_agrees(compile_for_cpu(network().model(), planned_by(PRESETS[title])), network())


sizes = st.integers(4096, 1 << 22)
rates = st.floats(0.05, 64)


@pytest.mark.slow
@given(
    st.builds(
        Microarchitecture,
        multiply_adds_per_cycle=rates,
        multiply_add_latency=st.floats(0.5, 20),
        loads_per_cycle=rates,
        instructions_per_cycle=rates,
        threads_per_core=st.integers(1, 8),
        l1d_bytes=sizes,
        l2_bytes=sizes,
        l3_bytes=st.integers(0, 1 << 26),
        l2_bytes_per_cycle=rates,
        l3_bytes_per_cycle=rates,
        dram_bytes_per_cycle=rates,
        launch_cycles=st.floats(0.01, 1e6),
    )
)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_results_are_right_by_numbers_of_no_processor(
    compile_for_cpu: Compile, core: Microarchitecture
) -> None:
    assert_agrees(compile_for_cpu(network().model(), planned_by(core)), network())
