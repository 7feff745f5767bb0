"""The loops that a core's rates and latencies are measured with."""

from __future__ import annotations

import tvm
from tvm import tirx
from tvm.script import tirx as T  # noqa: N812 - the dialect's customary name

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.probe_kernels import accumulators, multiply_add_loop, read_sum_loop

STEPS_OF_A_ROUND = 16
"""Steps of the chain that tells the clock, in a round of it."""

CYCLES_OF_A_STEP = 2
"""An exclusive or, and an addition that waits for it: a cycle each on every core."""

_SCALARS = {"tirx.noalias": True, "tirx.is_scheduled": True}


def measuring_module(cpu: CpuDescription) -> tvm.IRModule:
    """Returns the loops for a CPU; each takes a number of rounds at the end.

    - ``clock(state, first, second, rounds)``: a chain of scalar operations.
    - ``rate`` and ``latency``: multiply-adds to as many sums as registers hold, and to one.
    - ``load(data, sums, rounds)``: exclusive ors of the blocks of ``data``, int32 [blocks,
      accumulators · lanes], which wait for nothing but loads.
    - ``read(data, sums, rounds)``: sums of the blocks of ``data``, float32 [1, blocks, …].
    """
    lanes, count = cpu.float_lanes, accumulators(cpu)
    functions = {
        "clock": _clock(),
        "rate": multiply_add_loop(lanes, count),
        "latency": multiply_add_loop(lanes, 1),
        "load": _load(lanes, count),
        "read": read_sum_loop(lanes, count),
    }
    return tvm.IRModule(
        {name: function.with_attr("global_symbol", name) for name, function in functions.items()}
    )


def _clock() -> tirx.PrimFunc:
    # Of registers: additions of constants some cores do while they rename registers.
    @T.prim_func  # type: ignore[untyped-decorator]
    def clock(state_: T.handle, first: T.int64, second: T.int64, rounds: T.int64) -> None:
        T.func_attr(_SCALARS)
        state = T.match_buffer(state_, (1,), "int64")
        local = T.alloc_buffer((1,), "int64", scope="local")
        local[0] = state[0]
        for _ in range(rounds):
            for _step in T.unroll(STEPS_OF_A_ROUND):
                local[0] = T.bitwise_xor(local[0], first) + second
        state[0] = local[0]

    return clock


def _load(lanes: int, count: int) -> tirx.PrimFunc:
    block = count * lanes

    @T.prim_func  # type: ignore[untyped-decorator]
    def load(data_: T.handle, sums_: T.handle, rounds: T.int64) -> None:
        T.func_attr(_SCALARS)
        blocks = T.int64()
        data = T.match_buffer(data_, (blocks, block), "int32")
        sums = T.match_buffer(sums_, (block,), "int32")
        local = T.alloc_buffer((block,), "int32", scope="local")
        for i in T.unroll(count):
            local[T.ramp(i * lanes, 1, lanes)] = T.broadcast(T.int32(0), lanes)
        for _ in range(rounds):
            for b in range(blocks):
                for i in T.unroll(count):
                    local[T.ramp(i * lanes, 1, lanes)] = T.bitwise_xor(
                        local[T.ramp(i * lanes, 1, lanes)], data[b, T.ramp(i * lanes, 1, lanes)]
                    )
        for i in T.unroll(count):
            sums[T.ramp(i * lanes, 1, lanes)] = local[T.ramp(i * lanes, 1, lanes)]

    return load
