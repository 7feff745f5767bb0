"""Fused prim funcs that begin with an anchor: the kernel of its family, and what follows it.

What follows is the kernel's epilogue as far as it keeps to the shape and the place of the anchor's
result. From the first block that does not, for example the product of an image with its channels'
gates in squeeze-and-excitation, blocks are written behind the kernel as the plain loops they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from tvm import s_tir, tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.anchors import Anchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.fusion.taking_apart import NotFusableError, take_apart
from ingot.targets.cpu.kernels.plain.plain import write_blocks
from ingot.targets.cpu.kernels.plain.structure import Plain, read_blocks
from ingot.targets.cpu.kernels.writing.emission import Emitter, prim_func
from ingot.targets.cpu.kernels.writing.narrowing import packs_bytes
from ingot.targets.cpu.machine import CpuDescription

Writer: TypeAlias = Callable[[FusedKernel[Any], CpuDescription], tirx.PrimFunc]


def write_anchored(
    function: tirx.PrimFunc, writers: Mapping[type[Anchor], Writer], cpu: CpuDescription
) -> tirx.PrimFunc | None:
    """Writes the code of a prim func that begins with an anchor; None where it does not.

    Raises:
        NotPlainError: What follows the anchor is not made of blocks as TVM writes them.
    """
    body = function.body.block.body
    parts = list(body.seq) if isinstance(body, statements.SeqStmt) else [body]
    for count in range(len(parts), 0, -1):
        try:
            head = _head(function, parts[:count], parts[count:])
            kernel = take_apart(head, packs=packs_bytes(cpu))
        except NotFusableError:
            continue
        written = writers[type(kernel.anchor)](kernel, cpu)
        if count == len(parts):
            return written
        return _with_rest(function, kernel.epilogue.result, written, parts[count:], cpu)
    return None


def _head(
    function: tirx.PrimFunc, head: Sequence[tirx.Stmt], rest: Sequence[tirx.Stmt]
) -> tirx.PrimFunc:
    """The first blocks as a prim func whose result is what the last of them writes."""
    if not rest:
        return function
    made = [_written(part) for part in head]
    later = [_written(part) for part in rest]
    read = [region.source for part in rest for region in _block(part).reads]
    if any(_is_in(buffer, read) for buffer in made[:-1]):
        raise NotFusableError("a value inside of the epilogue is needed later")
    parameters = [
        parameter for parameter in function.params if not _is_in(parameter, [*later, made[-1]])
    ]
    body = statements.SeqStmt(list(head)) if len(head) > 1 else head[0]
    root = s_tir.SBlock([], [], [], "root", body)
    return tirx.PrimFunc([*parameters, made[-1]], s_tir.SBlockRealize([], True, root))


def _with_rest(
    function: tirx.PrimFunc,
    result: tirx.Buffer,
    written: tirx.PrimFunc,
    rest: Sequence[tirx.Stmt],
    cpu: CpuDescription,
) -> tirx.PrimFunc:
    emitter = Emitter()
    if not _is_in(result, function.params):
        emitter.emit(statements.AllocBuffer(result))
    body = written.body
    emitter.emit(body.block.body if isinstance(body, s_tir.SBlockRealize) else body)
    blocks = read_blocks(statements.SeqStmt(list(rest)) if len(rest) > 1 else rest[0])
    write_blocks(emitter, Plain((*function.params, result), blocks), cpu)
    return prim_func(function.params, emitter.body())


def _block(part: tirx.Stmt) -> s_tir.SBlock:
    while isinstance(part, statements.For):
        part = part.body
    if not isinstance(part, s_tir.SBlockRealize):
        raise NotFusableError("a statement is not a block")
    return part.block


def _written(part: tirx.Stmt) -> tirx.Buffer:
    return _block(part).writes[0].source


def _is_in(buffer: tirx.Buffer, buffers: Sequence[tirx.Buffer]) -> bool:
    return any(buffer.same_as(other) for other in buffers)
