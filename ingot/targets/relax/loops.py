"""Small functions of loops, written statement by statement: checks, sizes, scattered writes.

No schedule touches them and nothing is fused with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.tirx import stmt as statements

from ingot.errors import InputError
from ingot.targets.relax.expressions import Size, as_expression, shape_of, substituted, variables

REFUSE = "ingot.refuse"  # of the runtime's library
# TVM's kind of operator that fusion leaves alone.
_OPAQUE = 8


def _refuse(message: str, *values: int) -> None:
    raise InputError(message.format(*values))


# For kernels that the compiler runs itself, as when it folds constants.
tvm_ffi.register_error(InputError.__name__, InputError)
tvm_ffi.register_global_func(REFUSE, _refuse, override=True)

# Elements from which on a copy is shared between threads.
_SHARED = 1 << 16


class LoopFunction:
    """A prim func as it is written: parameters first, then statements, then its result.

    Attributes:
        node: The node that it belongs to, as messages name it.
        body: Its statements.
    """

    def __init__(self, node: str = "") -> None:
        """Begins a function without parameters."""
        self.node = node
        self.body: list[tirx.Stmt] = []
        self._tensors: list[tuple[relax.Expr, tirx.Buffer]] = []
        self._sizes: dict[tirx.Var, tirx.Var] = {}

    def tensor(self, expression: relax.Expr, name: str) -> tirx.Buffer:
        """Adds a tensor as a parameter; its dimensions are variables of the function's own."""
        sizes = [
            as_expression(size) if isinstance(size, int) else tirx.Var(f"{name}_size", "int64")
            for size in shape_of(expression)
        ]
        buffer = tirx.decl_buffer(sizes, str(expression.ty.dtype), name)
        self._tensors.append((expression, buffer))
        return buffer

    def size(self, size: Any) -> tirx.Expr:
        """Returns an expression of dimensions in terms of the function's parameters."""
        if isinstance(size, (int, float, bool)):
            return as_expression(size) if isinstance(size, int) else size
        for variable in variables(size):
            self._sizes.setdefault(variable, tirx.Var(variable.name, variable.ty.dtype))
        return substituted(size, self._sizes)

    def refuse(self, failed: tirx.Expr, message: str, *values: tirx.Expr) -> tirx.Stmt:
        """Returns a statement that raises ``InputError`` with values where something failed.

        Args:
            failed: Whether it did.
            message: What is wrong; ``{0}`` stands for the first value, and so on.
            values: Integers of 64 bits.
        """
        node = self.node.replace("{", "{{").replace("}", "}}")
        text = f"{node}: {message}" if node else message
        call = statements.Evaluate(tirx.call_packed(REFUSE, text, *values))
        return statements.IfThenElse(failed, call, None)

    def call(
        self, builder: relax.BlockBuilder, result: tirx.Buffer, shape: Sequence[Size], name: str
    ) -> relax.Expr:
        """Emits a call of the function.

        Args:
            builder: The builder to emit to.
            result: What the function writes.
            shape: The result's shape, in the caller's terms.
            name: What the function is called.
        """
        # Relax asks of each prim func whether it is a mere reshape, of a body that is a block.
        root = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", sequence(self.body)))
        parameters = [*(buffer for _, buffer in self._tensors), *self._sizes.values(), result]
        function = (
            tirx.PrimFunc(parameters, root)
            .with_attr("op_pattern", _OPAQUE)
            .with_attr("tirx.is_scheduled", True)
        )
        arguments = [*(expression for expression, _ in self._tensors), *self._sizes]
        kind = relax.TensorType([as_expression(size) for size in shape], result.dtype)
        return builder.emit(relax.call_tir(builder.add_func(function, name), arguments, kind))


def sequence(body: Sequence[tirx.Stmt]) -> tirx.Stmt:
    """Returns statements as one."""
    return body[0] if len(body) == 1 else statements.SeqStmt(list(body))


def store(buffer: tirx.Buffer, value: tirx.Expr, place: Iterable[Size]) -> tirx.Stmt:
    """Returns the statement that stores an element."""
    return statements.BufferStore(buffer, value, [as_expression(at) for at in place])


def load(buffer: tirx.Buffer, place: Iterable[Size]) -> tirx.Expr:
    """Returns an element."""
    return tirx.BufferLoad(buffer, [as_expression(at) for at in place])


def nest(
    sizes: Sequence[tirx.Expr], body: Callable[..., tirx.Stmt], *, shared: bool = False
) -> tirx.Stmt:
    """Returns loops over a shape.

    Args:
        sizes: The shape.
        body: What is done for each place, given its position along each dimension.
        shared: Whether threads share the outermost loop, where that is worth it.
    """
    place = [tirx.Var("i", "int64") for _ in sizes]
    inner = body(*place)
    for level, (variable, size) in reversed(list(enumerate(zip(place, sizes, strict=True)))):
        kind = statements.ForKind.SERIAL
        if shared and level == 0 and len(sizes) > 1 and not _is_small(sizes):
            kind = statements.ForKind.PARALLEL
        inner = statements.For(variable, as_expression(0), size, kind, inner)
    return inner


def _is_small(sizes: Sequence[tirx.Expr]) -> bool:
    count = 1
    for size in sizes:
        if not isinstance(size, tirx.IntImm):
            return False
        count *= int(size.value)
    return count < _SHARED
