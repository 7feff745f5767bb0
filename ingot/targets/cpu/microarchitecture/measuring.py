"""A core's rates and latencies, measured on this machine."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.microarchitecture.host import cache_bytes
from ingot.targets.cpu.microarchitecture.loops import (
    CYCLES_OF_A_STEP,
    STEPS_OF_A_ROUND,
    measuring_module,
)
from ingot.targets.cpu.probe import Burst
from ingot.targets.cpu.probe_kernels import accumulators

# All loops in turn, each between two looks at the clock, which is another from moment to moment.
_TURNS = 15
_MIB = 1 << 20
# A buffer of the first or second level takes half of it. One that is to come from the third is a
# few times the second, one that is to come from memory a few times the third.
_TIMES_BEYOND = 4
_LEAST_BEYOND_ALL = 64 * _MIB
_MOST_BEYOND_ALL = 256 * _MIB
_FLOAT_BYTES = 4
# How far a loop stays behind its units, at most.
_SHORT = 0.1


def measure_core(cpu: CpuDescription) -> tuple[dict[str, float], float]:
    """Measures what of a description one core tells; takes about three seconds.

    Args:
        cpu: This machine.

    Returns:
        The fields of :class:`Microarchitecture` by name, and the clock in cycles per second. Loads
        are counted as far as the integer units can take what they bring.
    """
    bursts = _bursts(cpu)
    clock = bursts.pop("clock")
    ticks: list[float] = []
    rates: dict[str, list[float]] = {name: [] for name in bursts}
    for _ in range(_TURNS):
        before = _rate(clock)
        for name, burst in bursts.items():
            rate, after = _rate(burst), _rate(clock)
            # The clock may have changed on the way.
            rates[name].append(2 * rate / (before + after))
            ticks.append(after)
            before = after
    measured = {name: statistics.median(found) for name, found in rates.items()}
    measured["multiply_add_latency"] = float(round(1 / measured["multiply_add_latency"]))
    for name in ("multiply_adds_per_cycle", "loads_per_cycle"):
        measured[name] = whole_units(measured[name])
    return measured, statistics.median(ticks)


def whole_units(rate: float) -> float:
    """Returns the rate of units of which each begins something every cycle, or every other one.

    What is measured falls a little short of that; what falls far short is something else's rate.
    """
    halves = round(2 * rate) / 2
    return halves if abs(rate - halves) <= _SHORT * halves else rate


def _rate(burst: Burst) -> float:
    """Returns the work of a second, in which other processes had no part."""
    begin = time.thread_time()
    burst()
    return burst.work / (time.thread_time() - begin)


def _bursts(cpu: CpuDescription) -> dict[str, Burst]:
    """The loops; a round of them does so much work: cycles, vectors, bytes."""
    code = tvm.compile(measuring_module(cpu), cpu.tvm_target())
    lanes, count = cpu.float_lanes, accumulators(cpu)
    factors = _tensor(np.full((2, lanes), 0.5, np.float32))

    def sums(number: int) -> tvm.runtime.Tensor:
        return _tensor(np.zeros((1, number * lanes), np.float32))

    def reading(size: int) -> Burst:
        blocks = max(1, size // (count * lanes * _FLOAT_BYTES))
        # Written, so that it is memory of its own: untouched pages all map to one page of zeros.
        data = np.ones((1, blocks, count * lanes), np.float32)
        return Burst(code["read"], (_tensor(data), sums(count)), 1, data.nbytes)

    core, last = cpu.core, cache_bytes(level=3)
    of_l1 = np.ones((core.l1d_bytes // 2 // (count * lanes * _FLOAT_BYTES) or 1, count * lanes))
    beyond_l2 = _TIMES_BEYOND * core.l2_bytes
    beyond_all = min(max(_TIMES_BEYOND * last, _LEAST_BEYOND_ALL), _MOST_BEYOND_ALL)
    in_l3 = min(beyond_l2, last // 2) if last // 2 > core.l2_bytes else beyond_all
    chain = (_tensor(np.zeros(1, np.int64)), 0x55, 0x33)
    loaded = (_tensor(of_l1.astype(np.int32)), _tensor(np.zeros(count * lanes, np.int32)))
    return {
        "clock": Burst(code["clock"], chain, 1, STEPS_OF_A_ROUND * CYCLES_OF_A_STEP),
        "multiply_adds_per_cycle": Burst(code["rate"], (factors, sums(count)), 1, count),
        "multiply_add_latency": Burst(code["latency"], (factors, sums(1)), 1, 1),
        "loads_per_cycle": Burst(code["load"], loaded, 1, of_l1.size // lanes),
        "l2_bytes_per_cycle": reading(core.l2_bytes // 2),
        "l3_bytes_per_cycle": reading(in_l3),
        "dram_bytes_per_cycle": reading(beyond_all),
    }


def _tensor(array: npt.NDArray[Any]) -> tvm.runtime.Tensor:
    return tvm.runtime.tensor(array)
