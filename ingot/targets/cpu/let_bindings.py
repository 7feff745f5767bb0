"""Let expressions as statements before the one that they stand in, each value in a local buffer.

TVM's code generator tells its analyzer of each variable that is bound. The analyzer writes a pure
value back into each place where the variable is used, so that nested functions take minutes, and
simplifies it twice: where a value has a let expression inside, it sees two versions and refuses the
code. What a load returns it does not know, and leaves alone. LLVM turns the buffers into registers.
"""

from __future__ import annotations

import re
from typing import Any

import tvm_ffi
from tvm import ir, tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.floats import OPAQUE

EVALUATED_ONLY_IF = "prim.if_then_else"
_VECTOR_TYPE = re.compile(r"(.+?)x(\d+)")


class _LetBinder:
    """Rewrites a statement at a time; collects the statements that have to stand before it."""

    def __init__(self) -> None:
        self._before: list[tirx.Stmt] = []
        self._values: dict[tirx.Var, tirx.Expr] = {}

    def rewrite(self, body: tirx.Stmt) -> tirx.Stmt:
        return tvm_ffi.structural_mutate(
            body,
            [
                (statements.SeqStmt, self._sequence),
                ((statements.BufferStore, statements.Bind, statements.Evaluate), self._statement),
                (tirx.Let, self._let),
                (ir.Call, self._call),
                (ir.Var, lambda variable, _: self._values.get(variable, variable)),
            ],
        )

    def _sequence(self, node: statements.SeqStmt, mutator: Any) -> tirx.Stmt:
        """Keeps sequences flat: a binding holds up to the end of the sequence that it stands in."""
        flat: list[tirx.Stmt] = []
        for part in node.seq:
            part = mutator.mutate(part)
            # `+=` with an array of TVM's would make one of the list, and copy it for each part.
            flat.extend(part.seq if isinstance(part, statements.SeqStmt) else [part])
        return statements.SeqStmt(flat)

    def _statement(self, node: tirx.Stmt, mutator: Any) -> tirx.Stmt:
        hidden = isinstance(node, statements.Bind) and _is_opaque(node.value)
        node = mutator.default_mutate(node)
        if hidden:
            buffer, place = self._allocate(node.var.name, node.value)
            self._before.append(statements.BufferStore(buffer, node.value, place))
            node = statements.Bind(node.var, tirx.BufferLoad(buffer, place))
        before, self._before = self._before, []
        return statements.SeqStmt([*before, node]) if before else node

    def _let(self, node: tirx.Let, mutator: Any) -> tirx.Expr:
        value = mutator.mutate(node.value)
        if not isinstance(value, (ir.Var, tirx.FloatImm, tirx.IntImm)):
            buffer, place = self._allocate(node.var.name, value)
            self._before.append(statements.BufferStore(buffer, value, place))
            # One expression may stand in several statements: each binds a variable of its own.
            variable = tirx.Var(node.var.name, node.var.ty)
            self._before.append(statements.Bind(variable, tirx.BufferLoad(buffer, place)))
            value = variable
        self._values[node.var] = value
        return mutator.mutate(node.body)

    def _call(self, node: ir.Call, mutator: Any) -> tirx.Expr:
        if _is_opaque(node):
            return mutator.mutate(node.args[0])
        if getattr(node.op, "name", "") != EVALUATED_ONLY_IF or not _has_let(node):
            return mutator.default_mutate(node)
        # What a branch loads may lie outside of a buffer when the other branch is taken.
        condition = mutator.mutate(node.args[0])
        before, self._before = self._before, []
        values, branches = [], []
        for branch in node.args[1:]:
            values.append(mutator.mutate(branch))
            branches.append(self._before)
            self._before = []
        self._before = before
        buffer, place = self._allocate("chosen", values[0])
        self._before.append(
            statements.IfThenElse(
                condition,
                *(
                    _sequence([*branch, statements.BufferStore(buffer, value, place)])
                    for branch, value in zip(branches, values, strict=True)
                ),
            )
        )
        return tirx.BufferLoad(buffer, place)

    def _allocate(self, name: str, value: tirx.Expr) -> tuple[tirx.Buffer, list[tirx.Expr]]:
        """Allocates a buffer for a value before the statement; returns it and its place."""
        dtype = str(value.ty.dtype)
        vector = _VECTOR_TYPE.fullmatch(dtype)
        element, lanes = (vector[1], int(vector[2])) if vector else (dtype, 1)
        buffer = tirx.decl_buffer([tirx.IntImm("int32", lanes)], element, name, scope="local")
        self._before.append(statements.AllocBuffer(buffer))
        zero, one = tirx.IntImm("int32", 0), tirx.IntImm("int32", 1)
        return buffer, [tirx.Ramp(zero, one, lanes) if lanes > 1 else zero]


def _is_opaque(expression: tirx.Expr) -> bool:
    return isinstance(expression, ir.Call) and getattr(expression.op, "name", "") == OPAQUE


def _has_let(expression: tirx.Expr) -> bool:
    found: list[tirx.Let] = []
    tvm_ffi.structural_walk(expression, (tirx.Let, found.append))
    return bool(found)


def _sequence(parts: list[tirx.Stmt]) -> tirx.Stmt:
    return parts[0] if len(parts) == 1 else statements.SeqStmt(parts)


def bind_let_expressions(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Turns the let expressions of a function's statements into statements before them.

    What was opaque to TVM is written out, in a buffer where a variable was bound to it.
    """
    return function.with_body(_LetBinder().rewrite(function.body))
