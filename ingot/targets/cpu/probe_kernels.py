"""The loops that a machine's peaks are read from."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import tirx
from tvm.script import tirx as T  # noqa: N812 - the dialect's customary name

from ingot.targets.cpu.kernels.anchors import Word
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators
from ingot.targets.cpu.kernels.words.amx import (
    SUM_TILES,
    TILE_ROWS,
    TILES_AT_ONCE,
    WIDEST_STEP,
    has_tiles,
    move_tile,
    multiply_tiles,
    tile_shapes,
)
from ingot.targets.cpu.kernels.words.dot import GROUP, GROUP_OF, SUMS, Bytes, DotProduct
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.machine import CpuDescription

_SCALARS = {"tirx.noalias": True, "tirx.is_scheduled": True}


def accumulators(cpu: CpuDescription) -> int:
    """Vector registers that sums are kept in: 12 of 16, or 24 of 32.

    A multiply-add takes 4 or 5 cycles and two begin per cycle on today's cores, so that ten
    independent sums keep the units busy; the other registers hold the operands.
    """
    return cpu.vector_registers * 3 // 4


def integer_accumulators(cpu: CpuDescription) -> int:
    """Vector registers that sums of 8-bit products are kept in: 10 of 16, or 20 of 32.

    Fewer than for float32, since products of 16 bits are held beside them. Where a step takes
    several instructions, each of which waits for the one before, it is 10 to 12 cycles long and
    one or two cycles of the multipliers: ten sums keep these busy. Where tiles multiply, these are
    the tiles of sums, of which one row is given.
    """
    if has_tiles(cpu):
        return SUM_TILES
    return cpu.vector_registers * 5 // 8


def integer_operations(cpu: CpuDescription) -> int:
    """Operations of a thread in a round of ``integer_multiply_add``; a multiply-add is two."""
    if has_tiles(cpu):
        return 2 * SUM_TILES * TILE_ROWS * cpu.float_lanes * WIDEST_STEP * GROUP
    return 2 * GROUP * _depth(DotProduct.of(cpu)) * cpu.float_lanes * integer_accumulators(cpu)


def bfloat16_accumulators(cpu: CpuDescription) -> int:
    """Vector registers that sums of products of bfloat16 are kept in, or tiles, of one row each."""
    return SUM_TILES if has_tiles(cpu, "bfloat16") else accumulators(cpu)


def bfloat16_operations(cpu: CpuDescription) -> int:
    """Operations of a thread in a round of ``bfloat16_multiply_add``; a multiply-add is two."""
    group = GROUP_OF["bfloat16"]
    if has_tiles(cpu, "bfloat16"):
        return 2 * SUM_TILES * TILE_ROWS * cpu.float_lanes * WIDEST_STEP * group
    return 2 * group * cpu.float_lanes * bfloat16_accumulators(cpu)


def integer_weights(cpu: CpuDescription) -> Bytes:
    """Weights, [depth, 4 · lanes], with which no sum ever changes, so that none overflows.

    Products of equal values cancel: two neighbours', or those of the groups that a step adds.
    """
    signs = np.resize(np.array([1, -1], np.int8), GROUP * cpu.float_lanes)
    if _multiplies_sums(DotProduct.of(cpu)):
        return np.stack([signs, -signs])
    return signs[None]


def _multiplies_sums(product: DotProduct) -> bool:
    """Whether the products do not depend on the sum that they are added to."""
    return product.kind in ("pmaddubsw", "plain")


def _depth(product: DotProduct) -> int:
    """Groups that a step adds: two where these are added before they are added to the sum."""
    return 2 if _multiplies_sums(product) else 1


def probe_module(cpu: CpuDescription) -> tvm.IRModule:
    """Returns ``multiply_add``, ``integer_multiply_add`` and ``read_sum`` for a CPU.

    - ``multiply_add(factors, sums, rounds)``: each thread takes its row of ``sums`` [threads,
      accumulators · lanes] into registers and adds ``factors[0] * factors[1]`` to it ``rounds``
      times (``factors`` is [2, lanes]). Nothing else is in the loop.
    - ``integer_multiply_add(rows, weights, sums, rounds)``: the same with the instructions that
      8-bit values are multiplied with (:class:`DotProduct`): each thread adds the dot products of
      ``rows``, int8 [4 · lanes], and ``weights``, int8 [depth, 4 · lanes], to its row of ``sums``,
      int32 [threads, integer_accumulators · lanes]. Where the products do not depend on the sum
      that they are added to, the sum itself is multiplied instead of ``rows``: they would else be
      taken out of the loop. Where tiles multiply, each row of a tile is the same.
    - ``read_sum(data, sums, rounds)``: each thread adds up its blocks of ``data`` [threads, blocks,
      accumulators · lanes], ``rounds`` times over, into its row of ``sums``.
    """
    lanes, count = cpu.float_lanes, accumulators(cpu)
    loops = {
        "multiply_add": multiply_add_loop(lanes, count),
        "integer_multiply_add": _tile_multiply_add(lanes, "uint8")
        if has_tiles(cpu)
        else _integer_multiply_add(DotProduct.of(cpu), integer_accumulators(cpu)),
        "read_sum": read_sum_loop(lanes, count),
    }
    return tvm.IRModule(loops)


def bfloat16_probe_module(cpu: CpuDescription) -> tvm.IRModule:
    """Returns ``bfloat16_multiply_add`` for a CPU that has instructions for it.

    ``bfloat16_multiply_add(rows, weights, sums, rounds)`` does what ``integer_multiply_add`` does
    (:func:`probe_module`), with the bits of bfloat16, uint16 [2 · lanes] and [1, 2 · lanes], and
    float32 sums.
    """
    if has_tiles(cpu, "bfloat16"):
        loop = _tile_multiply_add(cpu.float_lanes, "bfloat16")
    else:
        loop = _bfloat16_multiply_add(cpu.float_lanes, bfloat16_accumulators(cpu))
    return tvm.IRModule({"bfloat16_multiply_add": loop})


def multiply_add_loop(lanes: int, count: int) -> tirx.PrimFunc:
    """Returns ``multiply_add`` of :func:`probe_module`, with so many sums."""

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


def _integer_multiply_add(product: DotProduct, count: int) -> tirx.PrimFunc:
    lanes, depth = product.lanes, _depth(product)
    group = GROUP * lanes

    def added(total: tirx.Expr, rows: tirx.Expr, weights: tirx.Buffer) -> tirx.Expr:
        if _multiplies_sums(product):
            rows = tirx.reinterpret(f"int8x{group}", total)
        vector = tirx.Ramp(tirx.const(0), tirx.const(1), group)
        given = [tirx.BufferLoad(weights, [tirx.const(step), vector]) for step in range(depth)]
        return product.add(total, [rows] * depth, given)

    @T.prim_func  # type: ignore[untyped-decorator]
    def integer_multiply_add(
        rows_: T.handle, weights_: T.handle, sums_: T.handle, rounds: T.int64
    ) -> None:
        T.func_attr(_SCALARS)
        threads = T.int64()
        rows = T.match_buffer(rows_, (group,), "int8")
        weights = T.match_buffer(weights_, (depth, group), "int8")
        sums = T.match_buffer(sums_, (threads, count * lanes), "int32")
        for thread in T.parallel(threads):
            local = T.alloc_buffer((count * lanes,), "int32", scope="local")
            for i in T.unroll(count):
                local[T.ramp(i * lanes, 1, lanes)] = sums[thread, T.ramp(i * lanes, 1, lanes)]
            for _ in range(rounds):
                for i in T.unroll(count):
                    local[T.ramp(i * lanes, 1, lanes)] = added(
                        local[T.ramp(i * lanes, 1, lanes)],
                        rows[T.ramp(0, 1, group)],
                        weights,
                    )
            for i in T.unroll(count):
                sums[thread, T.ramp(i * lanes, 1, lanes)] = local[T.ramp(i * lanes, 1, lanes)]

    return integer_multiply_add


def _bfloat16_multiply_add(lanes: int, count: int) -> tirx.PrimFunc:
    emitter, length = Emitter(), GROUP_OF["bfloat16"] * lanes
    threads, rounds = tirx.Var("threads", "int64"), tirx.Var("rounds", "int64")
    rows = tirx.decl_buffer([index(length)], "uint16", "rows")
    weights = tirx.decl_buffer([index(1), index(length)], "uint16", "weights")
    sums = tirx.decl_buffer([threads, index(count * lanes)], "float32", "sums")
    product = DotProduct("vdpbf16ps", lanes)
    everything = vector_at(0, length)
    with emitter.parallel(threads, "thread") as thread:
        local = Accumulators(emitter, 1, count, lanes)
        row, weight = (
            emitter.bind("operand", product.weights(loaded))
            for loaded in (load(rows, everything), load(weights, 0, everything))
        )
        with emitter.loop(rounds, "round"):
            for vector in range(count):
                local.update(0, vector, lambda total: product.add(total, [row], [weight]))
        local.exchange(sums, [thread], store=True)
    name = "bfloat16_multiply_add"
    return prim_func([rows, weights, sums, rounds], emitter.body(), name=name)


def _tile_multiply_add(lanes: int, word: Word) -> tirx.PrimFunc:
    emitter, group = Emitter(), GROUP_OF[word] * lanes
    held = {"uint8": "int8", "bfloat16": "uint16"}[word]
    threads, rounds = tirx.Var("threads", "int64"), tirx.Var("rounds", "int64")
    rows = tirx.decl_buffer([index(group)], held, "rows")
    weights = tirx.decl_buffer([index(1), index(group)], held, "weights")
    sums = tirx.decl_buffer([threads, index(SUM_TILES * lanes)], SUMS[word], "sums")
    # No distance from row to row: all of a tile's are the same.
    first_rows, first_weights = SUM_TILES, SUM_TILES + TILES_AT_ONCE
    with (
        emitter.parallel(threads, "thread") as thread,
        tile_shapes(emitter, TILE_ROWS, WIDEST_STEP),
    ):
        for tile in range(SUM_TILES):
            move_tile(emitter, "tileloadd64", tile, load(sums, thread, tile * lanes), 0)
        for tile in range(TILES_AT_ONCE):
            move_tile(emitter, "tileloadd64", first_rows + tile, load(rows, 0), 0)
            move_tile(emitter, "tileloadd64", first_weights + tile, load(weights, 0, 0), 0)
        with emitter.loop(rounds, "round"):
            for tile in range(SUM_TILES):
                row, column = divmod(tile, TILES_AT_ONCE)
                multiply_tiles(emitter, tile, first_rows + row, first_weights + column, word)
        for tile in range(SUM_TILES):
            move_tile(emitter, "tilestored64", tile, load(sums, thread, tile * lanes), 0)
    name = "integer_multiply_add" if word == "uint8" else "bfloat16_multiply_add"
    return prim_func([rows, weights, sums, rounds], emitter.body(), name=name)


def read_sum_loop(lanes: int, count: int) -> tirx.PrimFunc:
    """Returns ``read_sum`` of :func:`probe_module`."""
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
