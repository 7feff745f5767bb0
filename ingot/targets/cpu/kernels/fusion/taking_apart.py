"""Taking a fused prim func apart: its anchor, what precedes it, and its epilogue.

FuseTIR leaves one block per operator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.anchors import Anchor, anchor_of
from ingot.targets.cpu.kernels.fusion.epilogue import Epilogue, FusedKernel, same_position
from ingot.targets.cpu.kernels.writing.rewriting import rewrite_loads, substitute


class NotFusableError(Exception):
    """A prim func is not an anchor with element-wise blocks behind it; says why."""


def take_apart(function: tirx.PrimFunc, *, packs: bool = False) -> FusedKernel[Anchor]:
    """Splits a fused prim func into its anchor, what precedes it, and its epilogue.

    Args:
        function: The prim func.
        packs: Whether the processor narrows vectors to bytes as :mod:`narrowing` has it.

    Raises:
        NotFusableError: No block has an anchor, or one behind it is not element-wise on its result.
    """
    blocks = _blocks(function.body)
    anchors = [anchor_of(block) for block in blocks]
    at = next((at for at, found in enumerate(anchors) if found is not None), None)
    if at is None or (anchor := anchors[at]) is None:
        raise NotFusableError("no block has an anchor")
    accumulating = blocks[at]
    prologue = _read_by(accumulating, blocks[:at])
    # What precedes the anchor and is none of its business belongs to the epilogue, such as the
    # dequantization of a residual.
    following = [block for block in blocks[:at] if block not in prologue] + blocks[at + 1 :]
    result = accumulating.writes[0].source
    shape = result.shape
    coordinates = tuple(tirx.Var(f"axis_{axis}", "int64") for axis in range(len(shape)))
    accumulator = tirx.Var("accumulated", str(result.ty.dtype))
    values = {result: accumulator}
    small: dict[tirx.Buffer, _Small] = {}
    steps = []
    for block in following:
        if (found := _Small.of(block, values, small)) is not None:
            small[found.buffer] = found
            continue
        store = _elementwise_store(block, coordinates, shape)
        axes = [variable.var for variable in block.iter_vars]
        expression = substitute(store.value, dict(zip(axes, coordinates, strict=True)))
        expression = _with_values(_inlined(expression, small), values, coordinates, shape)
        result = store.buffer
        values[result] = tirx.Var(store.buffer.name, str(expression.ty.dtype))
        steps.append((values[result], expression))
    if not any(result.same_as(parameter) for parameter in function.params):
        raise NotFusableError("its last block does not write the result")
    epilogue = Epilogue(accumulator, coordinates, tuple(steps), result, packs=packs)
    operands = _operands(function, blocks, accumulating)
    parameters = tuple(function.params)
    return FusedKernel(parameters, anchor, epilogue, tuple(prologue), operands)


@dataclasses.dataclass(frozen=True)
class _Small:
    """A tensor of fewer elements than the result, such as the product of a bias with a factor.

    It is computed again wherever it is read, which costs less than what else an epilogue does.

    Attributes:
        buffer: The tensor.
        axes: Stand for a position in it.
        value: Its element there.
    """

    buffer: tirx.Buffer
    axes: tuple[tirx.Var, ...]
    value: tirx.Expr

    @classmethod
    def of(
        cls,
        block: s_tir.SBlock,
        values: Mapping[tirx.Buffer, tirx.Var],
        known: Mapping[tirx.Buffer, _Small],
    ) -> _Small | None:
        """Reads a block; None where it is none of these, or reads what the epilogue computes."""
        store = block.body
        if not isinstance(store, statements.BufferStore) or block.init is not None:
            return None
        (result, *_) = values
        # The block of a scalar has an axis of one that nothing is indexed by.
        axes = tuple(variable.var for variable in block.iter_vars if store.indices)
        fewer = _has_fewer_elements(store.buffer, result)
        if not (fewer and same_position(store.indices, axes, store.buffer.shape)):
            return None
        reads = [region.source for region in block.reads]
        if any(read.same_as(value) for read in reads for value in values):
            return None
        value = _inlined(store.value, known)
        return cls(store.buffer, axes, value) if _is_cheap(value) else None


def _has_fewer_elements(buffer: tirx.Buffer, result: tirx.Buffer) -> bool:
    """Whether a tensor is a scalar, a vector of columns, or has one element per row."""
    shape, rank = list(buffer.shape), len(result.shape)
    ones = [_is_one(size) for size in shape]
    if len(shape) < rank and all(ones[:-1]):
        return True
    return len(shape) == rank > 0 and ones[-1] and not _is_one(result.shape[-1])


def _is_one(size: tirx.Expr) -> bool:
    return isinstance(size, tirx.IntImm) and int(size) == 1


def _is_cheap(expression: tirx.Expr) -> bool:
    """Whether an expression is arithmetic alone, without functions."""
    calls: list[tirx.Expr] = []
    tvm_ffi.structural_walk(expression, (ir.Call, calls.append))
    return not calls


def _inlined(expression: tirx.Expr, small: Mapping[tirx.Buffer, _Small]) -> tirx.Expr:
    def read(node: tirx.Expr) -> tirx.Expr:
        for buffer, found in small.items():
            if node.source.same_as(buffer):
                return substitute(found.value, dict(zip(found.axes, node.indices, strict=True)))
        return node

    return rewrite_loads(expression, read) if small else expression


def _read_by(anchor: s_tir.SBlock, earlier: Sequence[s_tir.SBlock]) -> list[s_tir.SBlock]:
    """The blocks, of those before an anchor, whose results it needs."""
    needed = [region.source for region in anchor.reads]
    found: list[s_tir.SBlock] = []
    for block in reversed(earlier):
        if any(region.source.same_as(buffer) for region in block.writes for buffer in needed):
            found.insert(0, block)
            needed += [region.source for region in block.reads]
    return found


def _operands(
    function: tirx.PrimFunc, blocks: Sequence[s_tir.SBlock], anchor: s_tir.SBlock
) -> tuple[tirx.Buffer, ...]:
    touched = [region.source for block in blocks for region in (*block.reads, *block.writes)]
    own = [region.source for region in anchor.reads]

    def is_in(parameter: tirx.Buffer, buffers: Sequence[tirx.Buffer]) -> bool:
        return any(parameter.same_as(buffer) for buffer in buffers)

    # The order of the anchor's call: that in which its loops read says nothing. Numbers are sizes
    # that no buffer's shape says as they are.
    return tuple(
        parameter
        for parameter in function.params
        if isinstance(parameter.ty, tirx.BufferType)
        and (is_in(parameter, own) or not is_in(parameter, touched))
    )


def _blocks(body: tirx.Stmt) -> list[s_tir.SBlock]:
    """The blocks below the root, in order."""
    statement = body.block.body
    found = []
    for part in statement.seq if isinstance(statement, statements.SeqStmt) else [statement]:
        while isinstance(part, statements.For):
            part = part.body
        if not isinstance(part, s_tir.SBlockRealize):
            raise NotFusableError("a statement is not a block")
        found.append(part.block)
    return found


def _elementwise_store(
    block: s_tir.SBlock, coordinates: Sequence[tirx.Var], shape: Sequence[tirx.Expr]
) -> statements.BufferStore:
    store = block.body
    axes = [variable.var for variable in block.iter_vars]
    if not isinstance(store, statements.BufferStore) or block.init is not None:
        raise NotFusableError(f"block {block.name_hint} is not element-wise")
    same_shape = len(store.buffer.shape) == len(shape) and all(
        tvm_ffi.structural_equal(a, b) for a, b in zip(store.buffer.shape, shape, strict=True)
    )
    if not same_shape or len(axes) != len(coordinates):
        raise NotFusableError(f"block {block.name_hint} has another shape than the anchor")
    if not same_position(store.indices, axes, shape):
        raise NotFusableError(f"block {block.name_hint} rearranges the anchor's result")
    return store


def _with_values(
    expression: tirx.Expr,
    values: Mapping[tirx.Buffer, tirx.Var],
    coordinates: Sequence[tirx.Var],
    shape: Sequence[tirx.Expr],
) -> tirx.Expr:
    """Returns an expression that reads earlier results as the values that stand for them."""
    misread: list[str] = []

    def read(node: tirx.Expr) -> tirx.Expr:
        for buffer, value in values.items():
            if node.source.same_as(buffer):
                if same_position(node.indices, coordinates, shape):
                    return value
                misread.append(buffer.name)
        return node

    expression = rewrite_loads(expression, read)
    # Raised in `read`, it would come out of TVM as an error of another type.
    if misread:
        raise NotFusableError(f"{misread[0]} is read at another position")
    return expression
