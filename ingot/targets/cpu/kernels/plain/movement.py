"""Transposes, and element-wise operators behind them: square blocks turned in registers.

Where a load's elements lie apart along the innermost axis of the result but next to each other
along another axis, neither order of loops has vectors on both sides. A block of as many rows as a
vector has lanes is loaded along the load's axis, transposed in registers, and used along the
result's. Two such blocks next to each other use up the cache lines that they load. Blocks at an
edge overlap the ones before, as far as they have to: elements are computed by themselves, so that
twice is no harm.

A transpose that keeps the innermost axis, like the one that separates attention's heads, needs none
of this: it is a copy of rows, and ``elementwise`` writes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tvm_ffi
from tvm import ir, sym, tirx

from ingot.targets.cpu.kernels.plain.elementwise import (
    Known,
    element_work,
    nested,
    share_nest,
    store_values,
    volume,
    with_selects,
)
from ingot.targets.cpu.kernels.plain.nests import Nest, is_slope, slope
from ingot.targets.cpu.kernels.plain.structure import Loop, loads_of
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, vector_at
from ingot.targets.cpu.kernels.writing.lanes import transpose, transpose_bytes
from ingot.targets.cpu.kernels.writing.rewriting import substitute
from ingot.targets.cpu.let_bindings import EVALUATED_ONLY_IF
from ingot.targets.cpu.machine import CACHE_LINE_BYTES, CpuDescription

# A block is an element's work several times over: loads, interleaving, exchanging, stores.
_WORK_OF_TURNING = 8
# Of the types whose blocks are transposed.
_ELEMENT_BYTES = {"float32": 4, "int32": 4, "int8": 1, "uint8": 1}
# A vector of bytes has 128 bits whatever the processor: wider ones are interleaved by 128 bits.
_BYTE_LANES = 16


@dataclasses.dataclass(frozen=True)
class _Turn:
    """A nest with loads to transpose.

    Attributes:
        across: The axis along which they lie in memory, which is not the innermost.
        loads: They.
        lanes: Rows and columns of a block.
        element_bytes: Size of what is loaded.
    """

    across: Loop
    loads: tuple[tirx.Expr, ...]
    lanes: int
    element_bytes: int


def find_turn(nest: Nest, cpu: CpuDescription) -> _Turn | None:
    """Finds the axis along which loads lie that do not lie along the innermost one."""
    if len(nest.loops) < 2:
        return None
    *outer, inner = nest.loops
    apart = [
        node
        for node in nest.loads()
        if not any(is_slope(slope(node.indices[0], inner.variable), flat) for flat in (0, 1))
    ]
    different = {tvm_ffi.StructuralKey(node): node for node in apart}
    dtypes = {str(node.ty.dtype) for node in apart}
    if not apart or len(dtypes) > 1 or not dtypes <= _ELEMENT_BYTES.keys():
        return None
    element_bytes = _ELEMENT_BYTES[dtypes.pop()]
    lanes = cpu.float_lanes if element_bytes == 4 else _BYTE_LANES
    if inner.size is not None and inner.size < lanes:
        return None
    for loop in outer:
        along = all(
            is_slope(slope(node.indices[0], loop.variable), 1)
            and slope(node.indices[0], inner.variable) is not None
            for node in apart
        )
        if along and (loop.size is None or loop.size >= lanes):
            # Blocks are loaded whatever a condition says: where it is false, there may be nothing.
            on_condition = _loads_on_condition(with_selects(nest))
            safe = different.keys().isdisjoint(map(tvm_ffi.StructuralKey, on_condition))
            loads = tuple(different.values())
            return _Turn(loop, loads, lanes, element_bytes) if safe else None
    return None


def _loads_on_condition(nest: Nest) -> list[tirx.Expr]:
    """The loads that a nest makes only where a condition holds, as they may not exist elsewhere."""
    found: list[tirx.Expr] = []

    def visit(node: ir.Call) -> None:
        if getattr(node.op, "name", "") == EVALUATED_ONLY_IF:
            found.extend(read for branch in node.args[1:] for read in loads_of(branch))

    def look(expression: tirx.Expr) -> tirx.Expr:
        tvm_ffi.structural_walk(expression, (ir.Call, visit))
        return expression

    nest.chain.map(look)
    return found


def write_turned(
    emitter: Emitter,
    nest: Nest,
    turn: _Turn,
    targets: Sequence[tirx.Buffer],
    cpu: CpuDescription,
) -> None:
    """Writes the loops of a nest in square blocks."""
    nest = with_selects(nest)
    lanes = turn.lanes
    *outer, inner = nest.loops
    outer = [loop for loop in outer if loop is not turn.across]
    side = max(1, CACHE_LINE_BYTES // (turn.element_bytes * lanes))
    if turn.across.size is not None:
        side = min(side, -(-turn.across.size // lanes))
    down = Loop(tirx.Var("down", "int64"), _blocks(turn.across.extent, lanes * side))
    work = volume(nest.loops) * element_work(nest, cpu) * _WORK_OF_TURNING

    def strip(known: Known) -> None:
        for number in range(side):
            start = known[down.variable] * index(side * lanes) + index(number * lanes)
            first = emitter.bind("row", tirx.Min(start, turn.across.extent - index(lanes)))
            _write_strip(
                emitter, nest, turn, targets, lanes, {**known, turn.across.variable: first}
            )

    if None not in (inner.size, turn.across.size):
        share_nest(emitter, [*outer, down], work, strip, cpu)
        return
    fits = tirx.all(inner.extent >= index(lanes), turn.across.extent >= index(lanes))
    with emitter.when(fits):
        share_nest(emitter, [*outer, down], work, strip, cpu)
    with emitter.when(tirx.Not(fits)), nested(emitter, nest.loops) as known:
        store_values(emitter, nest, targets, known)


def _write_strip(
    emitter: Emitter,
    nest: Nest,
    turn: _Turn,
    targets: Sequence[tirx.Buffer],
    lanes: int,
    known: Known,
) -> None:
    """Writes the blocks of as many rows as a vector has lanes."""
    inner = nest.loops[-1]
    count = _blocks(inner.extent, lanes)
    extent = int(count.value) if isinstance(count, tirx.IntImm) else count
    with emitter.loop(extent, "block") as number:
        start = number * index(lanes)
        if inner.size is None or inner.size % lanes:
            start = tirx.Min(start, inner.extent - index(lanes))
        column = emitter.bind("column", start)
        place = {**known, inner.variable: column}
        turned = [_turn_block(emitter, node, inner, lanes, place) for node in turn.loads]
        for row in range(lanes):
            with emitter.vectorized(lanes) as lane:
                place = {
                    **known,
                    turn.across.variable: known[turn.across.variable] + index(row),
                    inner.variable: column + lane,
                }
                values = [load(block, index(row * lanes) + lane) for block in turned]
                store_values(emitter, _with_loads(nest, turn, values), targets, place)


def _turn_block(
    emitter: Emitter, node: tirx.Expr, inner: Loop, lanes: int, known: Known
) -> tirx.Buffer:
    """Loads a block and transposes it; returns where its columns stand, as rows."""
    rows = []
    for row in range(lanes):
        place = {**known, inner.variable: known[inner.variable] + index(row)}
        rows.append(load(node.source, vector_at(substitute(node.indices[0], place), lanes)))
    dtype = str(node.ty.dtype)
    block = emitter.allocate("block", [lanes * lanes], dtype)
    turned = (transpose if _ELEMENT_BYTES[dtype] == 4 else transpose_bytes)(emitter, rows)
    for row, column in enumerate(turned):
        emitter.store(block, column, [vector_at(row * lanes, lanes)])
    return block


def _with_loads(nest: Nest, turn: _Turn, values: Sequence[tirx.Expr]) -> Nest:
    """Returns the nest with values in place of the loads that are transposed."""

    def replace(node: tirx.Expr) -> tirx.Expr:
        for turned, value in zip(turn.loads, values, strict=True):
            if tvm_ffi.structural_equal(node, turned):
                return value
        return node

    def rewrite(expression: tirx.Expr) -> tirx.Expr:
        return tvm_ffi.structural_map(expression, [(ir.TensorLoad, replace)])

    return dataclasses.replace(nest, chain=nest.chain.map(rewrite))


def _blocks(extent: tirx.Expr, length: int) -> tirx.Expr:
    return sym.Analyzer().simplify((extent + index(length - 1)) // index(length))
