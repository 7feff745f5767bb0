"""Measuring a core gives what its units do, however busy the machine is."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.cpu.microarchitecture.loops import STEPS_OF_A_ROUND, measuring_module
from ingot.targets.cpu.microarchitecture.measured import MEASURED
from ingot.targets.cpu.microarchitecture.measuring import measure_core, whole_units
from ingot.targets.cpu.probe_kernels import accumulators

CPU = describe_cpu("native", None)


@pytest.fixture(scope="module", name="loops")
def _loops() -> tvm.runtime.Module:
    return tvm.compile(measuring_module(CPU), CPU.tvm_target())


def test_a_core_tells_all_but_what_a_launch_costs() -> None:
    measured, clock = measure_core(CPU)
    assert set(measured) == set(MEASURED) - {"launch_cycles"}
    assert 2e8 < clock < 1e10
    assert 1 <= measured["multiply_add_latency"] <= 12
    assert 0.2 < measured["multiply_adds_per_cycle"] < 9
    assert 0.2 < measured["loads_per_cycle"] < 9
    assert measured["l2_bytes_per_cycle"] > measured["dram_bytes_per_cycle"] > 0


def test_the_clock_counts_every_step(loops: tvm.runtime.Module) -> None:
    state = tvm.runtime.tensor(np.array([7], np.int64))
    loops["clock"](state, 0x55, 0x33, 5)
    expected = 7
    for _ in range(5 * STEPS_OF_A_ROUND):
        expected = (expected ^ 0x55) + 0x33
    assert state.numpy()[0] == expected


def test_loads_read_every_block_every_round(loops: tvm.runtime.Module) -> None:
    width = accumulators(CPU) * CPU.float_lanes
    data = np.random.default_rng(0).integers(0, 1 << 30, (3, width)).astype(np.int32)
    sums = tvm.runtime.tensor(np.zeros(width, np.int32))
    loops["load"](tvm.runtime.tensor(data), sums, 5)
    np.testing.assert_array_equal(sums.numpy(), data[0] ^ data[1] ^ data[2])


def test_one_sum_waits_for_itself(loops: tvm.runtime.Module) -> None:
    lanes = CPU.float_lanes
    factors = tvm.runtime.tensor(np.full((2, lanes), 0.5, np.float32))
    sums = tvm.runtime.tensor(np.zeros((1, lanes), np.float32))
    loops["latency"](factors, sums, 100)
    np.testing.assert_array_equal(sums.numpy(), np.full((1, lanes), 25.0))


@pytest.mark.parametrize(
    ("rate", "units"), [(0.915, 1.0), (1.98, 2.0), (0.49, 0.5), (3.1, 3.0), (1.28, 1.28)]
)
def test_units_are_whole_or_half(rate: float, units: float) -> None:
    assert whole_units(rate) == units
