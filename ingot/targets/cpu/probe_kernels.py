"""The loops that a machine's peaks are read from."""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.script import tirx as T  # noqa: N812 - the dialect's customary name

from ingot.targets.cpu.machine import CpuDescription

_SCALARS = {"tirx.noalias": True, "tirx.is_scheduled": True}


def accumulators(cpu: CpuDescription) -> int:
    """Vector registers that sums are kept in: 12 of 16, or 24 of 32.

    A multiply-add takes 4 or 5 cycles and two begin per cycle on today's cores, so that ten
    independent sums keep the units busy; the other registers hold the operands.
    """
    return cpu.vector_registers * 3 // 4


def probe_module(cpu: CpuDescription) -> tvm.IRModule:
    """Returns ``multiply_add`` and ``read_sum`` for a CPU.

    - ``multiply_add(factors, sums, rounds)``: each thread takes its row of ``sums`` [threads,
      accumulators · lanes] into registers and adds ``factors[0] * factors[1]`` to it ``rounds``
      times (``factors`` is [2, lanes]). Nothing else is in the loop.
    - ``read_sum(data, sums, rounds)``: each thread adds up its blocks of ``data`` [threads, blocks,
      accumulators · lanes], ``rounds`` times over, into its row of ``sums``.
    """
    lanes, count = cpu.float_lanes, accumulators(cpu)
    return tvm.IRModule(
        {"multiply_add": _multiply_add(lanes, count), "read_sum": _read_sum(lanes, count)}
    )


def _multiply_add(lanes: int, count: int) -> tirx.PrimFunc:
    @T.prim_func  # type: ignore[untyped-decorator]
    def multiply_add(factors_: T.handle, sums_: T.handle, rounds: T.int64) -> None:
        T.func_attr(_SCALARS)
        threads = T.int64()
        factors = T.match_buffer(factors_, (2, lanes), "float32")
        sums = T.match_buffer(sums_, (threads, count * lanes), "float32")
        for thread in T.parallel(threads):
            local = T.alloc_buffer((count * lanes,), "float32", scope="local")
            for i in T.unroll(count):
                local[T.ramp(i * lanes, 1, lanes)] = sums[thread, T.ramp(i * lanes, 1, lanes)]
            for _ in range(rounds):
                for i in T.unroll(count):
                    # By name: a product of its own would be taken out of the loop.
                    local[T.ramp(i * lanes, 1, lanes)] = T.fma(
                        factors[0, T.ramp(0, 1, lanes)],
                        factors[1, T.ramp(0, 1, lanes)],
                        local[T.ramp(i * lanes, 1, lanes)],
                    )
            for i in T.unroll(count):
                sums[thread, T.ramp(i * lanes, 1, lanes)] = local[T.ramp(i * lanes, 1, lanes)]

    return multiply_add


def _read_sum(lanes: int, count: int) -> tirx.PrimFunc:
    block = count * lanes

    @T.prim_func  # type: ignore[untyped-decorator]
    def read_sum(data_: T.handle, sums_: T.handle, rounds: T.int64) -> None:
        T.func_attr(_SCALARS)
        threads, blocks = T.int64(), T.int64()
        data = T.match_buffer(data_, (threads, blocks, block), "float32")
        sums = T.match_buffer(sums_, (threads, block), "float32")
        for thread in T.parallel(threads):
            local = T.alloc_buffer((block,), "float32", scope="local")
            for i in T.unroll(count):
                local[T.ramp(i * lanes, 1, lanes)] = T.broadcast(T.float32(0), lanes)
            for _ in range(rounds):
                for b in range(blocks):
                    for i in T.unroll(count):
                        local[T.ramp(i * lanes, 1, lanes)] += data[
                            thread, b, T.ramp(i * lanes, 1, lanes)
                        ]
            for i in T.unroll(count):
                sums[thread, T.ramp(i * lanes, 1, lanes)] = local[T.ramp(i * lanes, 1, lanes)]

    return read_sum
