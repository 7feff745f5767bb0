"""Reductions over tiles of the output that stay in registers: convolution, matmul, pooling.

The innermost spatial axis becomes a vector, one outer spatial axis is unrolled around it, and the
reduction runs around both. The accumulators of such a tile are independent chains, which hides the
latency of the multiply-add, and each vector that is loaded is used once per unrolled row.
"""

from __future__ import annotations

import dataclasses

from tvm import s_tir
from tvm.s_tir.schedule import SBlockRV

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.schedules.elementwise import parallelize
from ingot.targets.cpu.schedules.structure import Axis, axes_of, is_spatial

# Registers that a tile leaves for the vectors and the broadcast values that feed it.
_SPARE_REGISTERS = 4


@dataclasses.dataclass(frozen=True)
class _Tile:
    """How many elements of the vector axis and of the unrolled axis make a tile."""

    vector: int
    unrolled_axis: int | None
    unrolled: int


def schedule_reduction(schedule: s_tir.Schedule, block: SBlockRV, cpu: CpuDescription) -> set[str]:
    """Schedules a reduction, together with the element-wise block that alone reads its result.

    Returns:
        The name of that consumer, where it was scheduled along with the reduction.
    """
    axes = axes_of(schedule, block)
    if axes is None:
        return set()
    spatial = [axis for axis in axes if not axis.reduces]
    tile = _choose_tile(spatial, cpu)
    if tile is None:
        _schedule_rows(schedule, block, axes)
        return set()
    epilogue = _epilogue(schedule, block, spatial)
    if epilogue is None:
        _tile_epilogue(schedule, block, schedule.cache_write(block, 0, "local"), tile)
        return set()
    schedule.set_scope(block, 0, "local")
    _tile_epilogue(schedule, block, epilogue, tile)
    return {schedule.get(epilogue).name_hint}


def _choose_tile(spatial: list[Axis], cpu: CpuDescription) -> _Tile | None:
    """Chooses a tile, or None where the innermost axis cannot be a vector of known length."""
    if not spatial or spatial[-1].extent is None:
        return None
    width = spatial[-1].extent
    lanes = cpu.float_lanes
    vector = _largest_divisor(width, 4 * lanes if len(spatial) == 1 else 2 * lanes, multiple=lanes)
    if vector is None:
        vector = _largest_divisor(width, lanes, multiple=1)
    if vector is None or vector < lanes // 2:
        return None
    registers = -(-vector // lanes)
    budget = max(1, (cpu.vector_registers - _SPARE_REGISTERS) // registers)
    best_axis, best = None, 1
    for index, axis in enumerate(spatial[:-1]):
        if axis.extent is not None:
            unrolled = _largest_divisor(axis.extent, budget, multiple=1) or 1
            if unrolled > best:
                best_axis, best = index, unrolled
    return _Tile(vector, best_axis, best)


def _largest_divisor(extent: int, limit: int, multiple: int) -> int | None:
    for candidate in range(min(extent, limit), 0, -1):
        if extent % candidate == 0 and candidate % multiple == 0:
            return candidate
    return None


def _epilogue(schedule: s_tir.Schedule, block: SBlockRV, spatial: list[Axis]) -> SBlockRV | None:
    """Returns the element-wise block of the same shape that alone reads a reduction's result."""
    consumers = schedule.get_consumers(block)
    if len(consumers) != 1 or not is_spatial(schedule, consumers[0]):
        return None
    axes = axes_of(schedule, consumers[0])
    if axes is None or [str(schedule.get(axis.loop).extent) for axis in axes] != [
        str(schedule.get(axis.loop).extent) for axis in spatial
    ]:
        return None
    written = schedule.get(block).writes[0].source
    variables = [var.var for var in schedule.get(consumers[0]).iter_vars]
    for region in schedule.get(consumers[0]).reads:
        if region.source.same_as(written):
            indices = [r.min for r in region.region]
            return (
                consumers[0]
                if len(indices) == len(variables)
                and all(i.same_as(v) for i, v in zip(indices, variables, strict=True))
                else None
            )
    return None


def _tile_epilogue(
    schedule: s_tir.Schedule, block: SBlockRV, epilogue: SBlockRV, tile: _Tile
) -> None:
    loops = schedule.get_loops(epilogue)
    outer_vector, vector = schedule.split(loops[-1], [None, tile.vector])
    outer = [*loops[:-1], outer_vector]
    inner = [vector]
    if tile.unrolled_axis is not None:
        kept, unrolled = schedule.split(loops[tile.unrolled_axis], [None, tile.unrolled])
        outer[tile.unrolled_axis] = kept
        inner.insert(0, unrolled)
    schedule.reorder(*outer, *inner)
    tiles = schedule.fuse(*outer) if len(outer) > 1 else outer[0]
    schedule.parallel(tiles)
    schedule.compute_at(block, tiles, preserve_unit_loops=True)
    _order_tile(schedule, block)
    for loop in inner[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(inner[-1])


def _order_tile(schedule: s_tir.Schedule, block: SBlockRV) -> None:
    """Puts the reduction's loops around the tile's, unrolls and vectorizes the tile."""
    axes = [
        (loop, var.iter_type)
        for loop, var in zip(
            schedule.get_loops(block)[1:], schedule.get(block).iter_vars, strict=True
        )
    ]
    reducing = [loop for loop, kind in axes if kind != 0]
    spatial = [loop for loop, kind in axes if kind == 0]
    schedule.reorder(*reducing, *spatial)
    for loop in spatial[:-1]:
        schedule.unroll(loop)
    schedule.vectorize(spatial[-1])
    schedule.decompose_reduction(block, reducing[0])


def _schedule_rows(schedule: s_tir.Schedule, block: SBlockRV, axes: list[Axis]) -> None:
    """Runs the rows in parallel; a symbolic innermost axis goes inside of the reduction.

    With the reduction outside, LLVM can vectorize the symbolic axis; a reduction over the
    innermost axis stays one chain, because its order may not change.
    """
    spatial = [axis.loop for axis in axes if not axis.reduces]
    reducing = [axis.loop for axis in axes if axis.reduces]
    if len(spatial) < 2:
        if spatial:
            schedule.parallel(spatial[0])
        return
    schedule.reorder(*spatial[:-1], *reducing, spatial[-1])
    rows = parallelize(schedule, spatial[:-1], None)
    assert rows is not None
    schedule.decompose_reduction(block, reducing[0])
