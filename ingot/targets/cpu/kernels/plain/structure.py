"""What a prim func that TVM legalized consists of: tensors, each computed by a block of loops.

A block is a function of its axes: for each place of its tensors it gives a value, or, where some
axes are reduced, the value that a running one is updated to. Loops and the order of axes in them
say nothing more, and are dropped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tvm_ffi
from tvm import ir, s_tir, sym, tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.kernels.writing.rewriting import substitute

_SPATIAL = tirx.IterVar.DataPar
_REDUCTION = tirx.IterVar.CommReduce


class NotPlainError(Exception):
    """A prim func is not made of blocks as TVM's legalization writes them; says why."""


@dataclasses.dataclass(frozen=True)
class Loop:
    """An axis of a block or of a nest.

    Attributes:
        variable: Stands for the position along it.
        extent: Number of positions, from zero.
    """

    variable: tirx.Var
    extent: tirx.Expr

    @property
    def size(self) -> int | None:
        """The extent, None where it is symbolic."""
        return int(self.extent.value) if isinstance(self.extent, tirx.IntImm) else None


@dataclasses.dataclass(frozen=True)
class Block:
    """Tensors of one shape that are computed together, usually one.

    Attributes:
        name: Its name.
        axes: The axes of the tensors, outermost first.
        reduced: The axes that are reduced.
        targets: The tensors.
        values: For each tensor its value at a place, or what it is updated to.
        initial: For each tensor what it holds before the first update; empty without a reduction.
    """

    name: str
    axes: tuple[Loop, ...]
    reduced: tuple[Loop, ...]
    targets: tuple[tirx.Buffer, ...]
    values: tuple[tirx.Expr, ...]
    initial: tuple[tirx.Expr, ...]

    @property
    def target(self) -> tirx.Buffer:
        """The tensor of a block that computes one."""
        assert len(self.targets) == 1
        return self.targets[0]

    @property
    def value(self) -> tirx.Expr:
        """The value of a block that computes one tensor."""
        assert len(self.values) == 1
        return self.values[0]

    def at(self, place: Sequence[tirx.Expr]) -> tirx.Expr:
        """Returns the value at a place, without a reduction."""
        return substitute(
            self.value, {axis.variable: at for axis, at in zip(self.axes, place, strict=True)}
        )


@dataclasses.dataclass(frozen=True)
class Plain:
    """A prim func as blocks.

    Attributes:
        parameters: Its parameters.
        blocks: Its blocks, each after those whose tensors it reads.
    """

    parameters: tuple[tirx.Buffer, ...]
    blocks: tuple[Block, ...]

    def is_parameter(self, buffer: tirx.Buffer) -> bool:
        """Whether a tensor is one of the parameters."""
        return any(buffer.same_as(parameter) for parameter in self.parameters)


def read_function(function: tirx.PrimFunc) -> Plain:
    """Reads a prim func.

    Raises:
        NotPlainError: It has a block of another kind, or statements outside of blocks.
    """
    root = function.body
    if not isinstance(root, s_tir.SBlockRealize):
        raise NotPlainError("its body is not a block")
    return Plain(tuple(function.params), read_blocks(root.block.body))


def read_blocks(body: tirx.Stmt) -> tuple[Block, ...]:
    """Reads the blocks of a statement, in order.

    Raises:
        NotPlainError: A statement is not a block in loops over its axes.
    """
    parts = body.seq if isinstance(body, statements.SeqStmt) else [body]
    return tuple(_read_block(part) for part in parts)


def _read_block(statement: tirx.Stmt) -> Block:
    loops: dict[tirx.Var, statements.For] = {}
    while isinstance(statement, statements.For):
        loops[statement.loop_var] = statement
        statement = statement.body
    if not isinstance(statement, s_tir.SBlockRealize):
        raise NotPlainError("a statement is not a block")
    block = statement.block
    axes: dict[bool, list[Loop]] = {False: [], True: []}
    for variable, value in zip(block.iter_vars, statement.iter_values, strict=True):
        loop = loops.get(value) if isinstance(value, ir.Var) else None
        one = isinstance(variable.dom.extent, tirx.IntImm) and int(variable.dom.extent.value) == 1
        if variable.iter_type not in (_SPATIAL, _REDUCTION) or (loop is None and not one):
            raise NotPlainError(f"block {block.name_hint} has an axis that is not a loop")
        axes[variable.iter_type == _REDUCTION].append(Loop(variable.var, variable.dom.extent))
    if len({axis.variable for kind in axes.values() for axis in kind}) < len(loops):
        raise NotPlainError(f"block {block.name_hint} has a loop that is not an axis")
    if not _is_true(statement.predicate) or block.match_buffers or block.alloc_buffers:
        raise NotPlainError(f"block {block.name_hint} is not computed for all of its axes")
    stores = _stores(block.body, block.name_hint)
    initial = [] if block.init is None else _stores(block.init, block.name_hint)
    if bool(initial) != bool(axes[True]) or (initial and len(initial) != len(stores)):
        raise NotPlainError(f"block {block.name_hint} reduces in another manner")
    spatial = tuple(axes[False])
    if not stores[0].indices and all(axis.size == 1 for axis in spatial):
        # A scalar's block has an axis all the same.
        spatial = ()
    for store in (*stores, *initial):
        _check_place(store, spatial, block.name_hint)
    starts = {store.buffer: store.value for store in initial}
    return Block(
        block.name_hint,
        spatial,
        tuple(axes[True]),
        tuple(store.buffer for store in stores),
        tuple(store.value for store in stores),
        tuple(starts[store.buffer] for store in stores) if initial else (),
    )


def _stores(body: tirx.Stmt, name: str) -> list[statements.BufferStore]:
    """The stores of a block, with the variables that are bound before them put in."""
    bound: dict[tirx.Var, tirx.Expr] = {}
    stores: list[tirx.Stmt] = []
    for part in body.seq if isinstance(body, statements.SeqStmt) else [body]:
        if isinstance(part, statements.Bind) and not stores:
            bound[part.var] = substitute(part.value, bound)
        elif isinstance(part, statements.BufferStore):
            value = substitute(part.value, bound)
            stores.append(statements.BufferStore(part.buffer, value, list(part.indices)))
        else:
            raise NotPlainError(f"block {name} is not made of stores")
    return stores


def _check_place(store: statements.BufferStore, axes: Sequence[Loop], name: str) -> None:
    same = len(store.indices) == len(axes) and all(
        at.same_as(axis.variable) or (axis.size == 1 and isinstance(at, tirx.IntImm))
        for at, axis in zip(store.indices, axes, strict=True)
    )
    if not same:
        raise NotPlainError(f"block {name} rearranges what it stores")


def _is_true(condition: tirx.Expr) -> bool:
    return isinstance(condition, tirx.IntImm) and bool(condition.value)


def element_count(shape: Sequence[tirx.Expr]) -> tirx.Expr:
    """The number of elements of a shape."""
    count: tirx.Expr = index(1)
    for size in shape:
        count = count * size
    return sym.Analyzer().simplify(count)


def offset_of(shape: Sequence[tirx.Expr], place: Sequence[tirx.Expr]) -> tirx.Expr:
    """The position of an element in row-major order."""
    offset: tirx.Expr = index(0)
    for size, at in zip(shape, place, strict=True):
        offset = offset * size + at.astype("int64")
    return offset


def loads_of(expression: tirx.Expr) -> list[tirx.Expr]:
    """The loads of an expression, those in indices of others included."""
    found: list[tirx.Expr] = []
    tvm_ffi.structural_walk(expression, (ir.TensorLoad, found.append))
    return found
