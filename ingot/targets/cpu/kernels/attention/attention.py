"""Scaled dot-product attention, softmax(Q Kᵀ · scale + mask) V, in one kernel.

Rows that share their keys (the queries of a head, or of several heads that share one of keys) are
cut into tiles of two vectors; where there are but a few, as when a text is generated token by
token, other code takes them (see ``attention_few_rows``). A kernel of open sizes holds both.

What bounds it is multiply-adds for the tiles: 2 · rows · keys · (features + value features)
operations at the peak, half of that where a causal mask leaves half; for a few rows it is reading
keys and values once: 4 · keys · (features + value features) bytes for each head of keys.
"""

from __future__ import annotations

from tvm import sym, tirx

from ingot.targets.cpu.kernels.attention.access import Access
from ingot.targets.cpu.kernels.attention.few_rows import (
    MOST_FEW_ROWS,
    takes_few_rows,
    write_few_rows,
)
from ingot.targets.cpu.kernels.attention.problem import Attention
from ingot.targets.cpu.kernels.attention.tiles import write_tiles
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, prim_func
from ingot.targets.cpu.machine import CpuDescription


def attention(problem: Attention, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the kernel; its parameters are Q, K, V, the mask if there is one, and the result."""
    emitter = Emitter()
    access = Access(problem, emitter)
    rows = problem.rows
    if not takes_few_rows(problem, cpu) or (isinstance(rows, int) and rows > MOST_FEW_ROWS):
        write_tiles(access, cpu)
    elif isinstance(rows, int):
        write_few_rows(access, cpu)
    elif _queries_are_keys(problem):
        write_tiles(access, cpu)
    else:
        with emitter.when(rows <= index(MOST_FEW_ROWS)):
            write_few_rows(access, cpu)
        with emitter.when(rows > index(MOST_FEW_ROWS)):
            write_tiles(access, cpu)
    return prim_func(
        access.parameters,
        emitter.body(),
        family="attention",
        operations=problem.operations(),
    )


def _queries_are_keys(problem: Attention) -> bool:
    """Whether a few rows have a few keys only: not worth code of their own."""
    return bool(sym.Analyzer().can_prove_equal(index(problem.queries), index(problem.keys)))
