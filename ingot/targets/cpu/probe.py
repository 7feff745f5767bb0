"""This machine's peaks, measured: multiply-adds per second, and bytes per second from each memory.

A kernel's time is bounded from below by the larger of its operations ÷ peak and its bytes ÷
bandwidth (Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures", CACM 2009). A machine's clock varies, with turbo, heat and, on a virtual
machine, neighbours: peaks are compared only with what is measured next to them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm

from ingot.runtime.threads import resolve_threads
from ingot.targets.cpu.bfloat16 import multiplies_pairs
from ingot.targets.cpu.cost import Multiplied
from ingot.targets.cpu.kernels.words.dot import GROUP, GROUP_OF
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.microarchitecture.host import cache_bytes
from ingot.targets.cpu.probe_kernels import (
    accumulators,
    bfloat16_accumulators,
    bfloat16_operations,
    bfloat16_probe_module,
    integer_accumulators,
    integer_operations,
    integer_weights,
    probe_module,
)
from ingot.targets.cpu.tir_pipeline import TIR_PIPELINE
from ingot.targets.relax.tvm_threads import use_threads

# In bytes.
_MIB = 1 << 20
_FLOAT_BYTES = 4
# Seconds: a burst must dwarf the start of its threads, a peak must outlast a neighbour's turn.
_BURST_SECONDS = 0.004
_PEAK_SECONDS = 0.12
_FEWEST_BURSTS = 5
# Bytes of the buffer that is read from memory: far beyond any cache, within any machine's means.
_LEAST_STREAM = 64 * _MIB
_MOST_STREAM = 512 * _MIB
_CACHES_STREAMED = 4
# A buffer that stays in the second level takes half of it: the rest is for what else runs. One that
# does not, but stays in the third, is a few times as large; more would measure page translation.
_RESIDENT_PART = 0.5
_BEYOND = 4
# What integer sums begin with, since they may be what is multiplied: each of its bytes is a value.
_SUM_OF_BYTES = 0x2A15_3F0B


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Peaks of this machine with a number of threads.

    Attributes:
        threads: Number of threads.
        gflops: Float32 operations per second, in 10^9; a multiply-add is two.
        int8_gops: Operations per second on 8-bit integers summed in 32 bits, likewise.
        l2_gbs: Bytes read per second from the second-level caches of as many cores, in 10^9.
        l3_gbs: From the third-level cache; from memory where there is none.
        dram_gbs: From memory.
        l2_bytes: Size of the second-level caches of as many cores.
        l3_bytes: Size of the third-level cache, 0 where there is none.
        bf16_gops: Operations per second on bfloat16 summed in float32, in 10^9; None where no
            instruction multiplies it.
    """

    threads: int
    gflops: float
    int8_gops: float
    l2_gbs: float
    l3_gbs: float
    dram_gbs: float
    l2_bytes: int
    l3_bytes: int
    bf16_gops: float | None = None

    def bandwidth(self, size: int) -> float:
        """Returns the bandwidth, in 10^9 bytes per second, of the nearest memory that holds it.

        What a kernel touches may lie further away than where it fits, so this bounds from above.
        """
        if size <= self.l2_bytes:
            return max(self.l2_gbs, self.l3_gbs)
        return self.l3_gbs if size <= self.l3_bytes else self.dram_gbs

    def peak(self, kind: Multiplied = "float32") -> float:
        """Returns the operations per second, in 10^9, on values of a type."""
        if kind == "int8":
            return self.int8_gops
        return self.gflops if kind == "float32" or self.bf16_gops is None else self.bf16_gops

    def seconds(self, operations: float, size: int, kind: Multiplied = "float32") -> float:
        """Returns the least time that operations on ``size`` bytes take.

        Args:
            operations: How many; a multiply-add is two.
            size: Bytes.
            kind: What they are on.
        """
        return max(operations / self.peak(kind), size / self.bandwidth(size)) / 1e9

    def mean_with(self, other: Roofline) -> Roofline:
        """Returns the mean with the peaks of another moment, with the same number of threads."""
        means = {
            name: (getattr(self, name) + getattr(other, name)) / 2
            for name in ("gflops", "int8_gops", "l2_gbs", "l3_gbs", "dram_gbs")
        }
        if self.bf16_gops is not None and other.bf16_gops is not None:
            means["bf16_gops"] = (self.bf16_gops + other.bf16_gops) / 2
        return dataclasses.replace(self, **means)


class Probe:
    """The compiled probe loops of this machine; what it measures is of the moment it is asked."""

    def __init__(self, cpu: CpuDescription | None = None) -> None:
        """Compiles the loops (about 0.1 s).

        Args:
            cpu: What the loops are compiled for, by default this machine.
        """
        self._cpu = cpu or describe_cpu("native", None)
        self._code = tvm.compile(probe_module(self._cpu), self._cpu.tvm_target())
        self._bfloat16_code = None
        if self.has_bfloat16:
            # Its instructions are put in by Ingot's own passes.
            self._bfloat16_code = tvm.compile(
                bfloat16_probe_module(self._cpu), self._cpu.tvm_target(), tir_pipeline=TIR_PIPELINE
            )

    def roofline(self, threads: int | None = None) -> Roofline:
        """Measures all peaks, each as the best of several bursts; takes less than two seconds.

        Args:
            threads: Number of threads, by default as many as this process may run at once.
        """
        threads = resolve_threads(threads)
        l2, l3 = self._cpu.core.l2_bytes * threads, cache_bytes(level=3)
        streamed = min(max(_CACHES_STREAMED * l3, _LEAST_STREAM), _MOST_STREAM)
        dram = self._read_gbs(threads, streamed)
        in_l3 = min(_BEYOND * l2, int(_RESIDENT_PART * l3))
        return Roofline(
            threads=threads,
            gflops=self.multiply_adds(threads).peak(),
            int8_gops=self.integer_multiply_adds(threads).peak(),
            l2_gbs=self._read_gbs(threads, int(_RESIDENT_PART * l2)),
            l3_gbs=self._read_gbs(threads, in_l3) if in_l3 > l2 else dram,
            dram_gbs=dram,
            l2_bytes=l2,
            l3_bytes=l3,
            bf16_gops=self.bfloat16_multiply_adds(threads).peak() if self.has_bfloat16 else None,
        )

    @property
    def has_bfloat16(self) -> bool:
        """Whether the processor has instructions that multiply bfloat16."""
        return multiplies_pairs(self._cpu.features)

    def multiply_adds(self, threads: int) -> Burst:
        """Returns a burst of float32 multiply-adds in registers alone, on all threads."""
        count, lanes = accumulators(self._cpu), self._cpu.float_lanes
        # Sums grow until the products round away: they never overflow.
        factors = tvm.runtime.tensor(np.full((2, lanes), 0.5, np.float32))
        sums = tvm.runtime.tensor(np.zeros((threads, count * lanes), np.float32))
        operations = 2 * count * lanes * threads
        return Burst(self._code["multiply_add"], (factors, sums), threads, operations)

    def integer_multiply_adds(self, threads: int) -> Burst:
        """Returns a burst of multiply-adds of 8-bit integers in registers alone, on all threads.

        They are the instructions that integer kernels multiply with, at the weights that allow the
        fewest of them.
        """
        lanes, count = self._cpu.float_lanes, integer_accumulators(self._cpu)
        arguments = (
            tvm.runtime.tensor(np.ones(GROUP * lanes, np.int8)),
            tvm.runtime.tensor(integer_weights(self._cpu)),
            tvm.runtime.tensor(np.full((threads, count * lanes), _SUM_OF_BYTES, np.int32)),
        )
        work = integer_operations(self._cpu) * threads
        return Burst(self._code["integer_multiply_add"], arguments, threads, work)

    def bfloat16_multiply_adds(self, threads: int) -> Burst:
        """Returns a burst of multiply-adds of bfloat16 in registers alone, on all threads.

        The processor has to have instructions for them.
        """
        assert self._bfloat16_code is not None
        lanes, count = self._cpu.float_lanes, bfloat16_accumulators(self._cpu)
        # Halves: sums grow until the products round away.
        halves = np.full(GROUP_OF["bfloat16"] * lanes, 0x3F00, np.uint16)
        arguments = (
            tvm.runtime.tensor(halves),
            tvm.runtime.tensor(halves[None]),
            tvm.runtime.tensor(np.zeros((threads, count * lanes), np.float32)),
        )
        work = bfloat16_operations(self._cpu) * threads
        return Burst(self._bfloat16_code["bfloat16_multiply_add"], arguments, threads, work)

    def _read_gbs(self, threads: int, size: int) -> float:
        """Gigabytes per second that the threads read, each from its part of ``size`` bytes."""
        row = accumulators(self._cpu) * self._cpu.float_lanes
        blocks = max(1, size // (threads * row * _FLOAT_BYTES))
        # Written, so that it is memory of its own: untouched pages all map to one page of zeros.
        data = tvm.runtime.tensor(np.ones((threads, blocks, row), np.float32))
        sums = tvm.runtime.empty((threads, row), "float32")
        read = threads * blocks * row * _FLOAT_BYTES
        return Burst(self._code["read_sum"], (data, sums), threads, read).peak()


class Burst:
    """A loop that runs for some milliseconds, with a known amount of work.

    Attributes:
        work: What one call does: operations, or bytes read.
    """

    def __init__(
        self, function: Callable[..., None], arguments: tuple[Any, ...], threads: int, work: int
    ) -> None:
        """Takes a function of ``arguments`` and a number of rounds, of ``work`` each.

        The number of rounds is then chosen so that a call takes some milliseconds.
        """
        self._function, self._arguments, self._threads = function, arguments, threads
        self._rounds = 1
        use_threads(threads)  # a pool is made for the most threads that it is first asked for
        # Tried out on one thread, which does the work of all: on a busy machine others may wait for
        # a core longer than a burst takes. Of three, so that the one thread is not waited for too.
        long_enough = _BURST_SECONDS * threads
        while (seconds := min(self._timed(1) for _ in range(3))) < long_enough:
            # Small steps: the first ones are too short to tell how many rounds it takes.
            growth = long_enough / max(seconds, long_enough / 8)
            self._rounds = int(self._rounds * growth) + 1
        self.work = work * self._rounds

    def __call__(self) -> None:
        """Runs once."""
        self._run(self._threads)

    def peak(self) -> float:
        """Returns the work done per nanosecond, which is 10^9 per second, in the best of runs."""
        taken: list[float] = []
        while len(taken) < _FEWEST_BURSTS or sum(taken) < _PEAK_SECONDS:
            taken.append(self._timed(self._threads))
        return self.work / min(taken) / 1e9

    def _run(self, threads: int) -> None:
        use_threads(threads)
        self._function(*self._arguments, self._rounds)

    def _timed(self, threads: int) -> float:
        started = time.perf_counter()
        self._run(threads)
        return time.perf_counter() - started
