"""Where a prim func's buffers live: small ones in the machine function that uses them.

TVM's storage rewriting shares memory between buffers, and moves all allocations of a parallel loop
to its beginning. A machine function of its own (``compute_scope``) then gets them as pointers, and
LLVM must store to them what nobody will read: the accumulators of a loop's last tile and what an
epilogue keeps, for which it holds registers that the tiles need. Moved back, they become registers.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx import stmt as statements

_MACHINE_FUNCTION = "compute_scope"
# TVM takes more from a workspace, by a call.
_MOST_BYTES_ON_STACK = 1024


@tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
def rewrite_storage(module: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
    """Plans memory as TVM does, with small buffers left to the machine functions they are of."""
    private = {
        name: _is_private(function.body)
        for name, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc) and _machine_functions(function.body)
    }
    module = tirx.transform.StorageRewrite()(module)
    for name, all_private in private.items():
        function = module[name]
        module[name] = function.with_body(_moved(function.body, all_private))
    # What several machine functions use is now allocated in each.
    return tirx.transform.ConvertSSA()(module)


def _is_private(body: tirx.Stmt) -> bool:
    """Whether no buffer takes values from one machine function to another, or in or out."""
    scopes = _machine_functions(body)
    private = {buffer for scope in scopes for buffer in _allocated(scope)}
    shared = set(_allocated(body)) - private
    return shared.isdisjoint(_used(scopes))


def _moved(body: tirx.Stmt, all_private: bool) -> tirx.Stmt:
    """Moves buffers into the machine functions that use them.

    Storage rewriting has given one buffer's memory to others, of which the first one's name is
    left. If all were private to a machine function, each can have a memory of its own.
    """
    scopes = _machine_functions(body)
    users = collections.Counter(buffer for scope in scopes for buffer in set(_used([scope])))
    outside = _used([_without_machine_functions(body)])
    moved = {
        buffer: allocation
        for buffer, allocation in _allocated(body).items()
        if buffer not in outside
        and users[buffer]
        and (all_private or users[buffer] == 1)
        and _fits_stack(buffer)
    }

    def without(node: statements.AllocBuffer) -> tirx.Stmt:
        return _nothing() if node.buffer in moved else node

    def with_buffers(node: statements.AttrStmt) -> statements.AttrStmt:
        own = [moved[buffer] for buffer in _used([node]) if buffer in moved]
        if not own or not _is_machine_function(node):
            return node
        inner = statements.SeqStmt([*own, node.body])
        return statements.AttrStmt(node.node, node.attr_key, node.value, inner)

    body = tvm_ffi.structural_map(body, (statements.AllocBuffer, without))
    return tvm_ffi.structural_map(body, (statements.AttrStmt, with_buffers))


def _without_machine_functions(body: tirx.Stmt) -> tirx.Stmt:
    """What is left of a body without them and without allocations."""

    def without(node: statements.AttrStmt) -> tirx.Stmt:
        return _nothing() if _is_machine_function(node) else node

    return tvm_ffi.structural_map(
        body, [(statements.AttrStmt, without), (statements.AllocBuffer, lambda _: _nothing())]
    )


def _used(parts: Sequence[tirx.Stmt]) -> list[tirx.Var]:
    return [variable for part in parts for variable in tirx.analysis.undefined_vars(part)]


def _machine_functions(body: tirx.Stmt) -> list[statements.AttrStmt]:
    found: list[statements.AttrStmt] = []

    def note(node: statements.AttrStmt) -> None:
        if _is_machine_function(node):
            found.append(node)

    tvm_ffi.structural_walk(body, (statements.AttrStmt, note))
    return found


def _allocated(body: tirx.Stmt) -> dict[tirx.Var, statements.AllocBuffer]:
    found: dict[tirx.Var, statements.AllocBuffer] = {}

    def note(node: statements.AllocBuffer) -> None:
        found[node.buffer] = node

    tvm_ffi.structural_walk(body, (statements.AllocBuffer, note))
    return found


def _is_machine_function(node: statements.AttrStmt) -> bool:
    return str(node.attr_key) == _MACHINE_FUNCTION


def _fits_stack(buffer: tirx.Buffer) -> bool:
    sizes = [size.value for size in buffer.shape if isinstance(size, tirx.IntImm)]
    dtype = tvm.DataType(str(buffer.dtype))
    return (
        len(sizes) == len(buffer.shape)
        and math.prod(sizes) * dtype.bits * dtype.lanes <= 8 * _MOST_BYTES_ON_STACK
    )


def _nothing() -> tirx.Stmt:
    return statements.Evaluate(tirx.const(0, "int32"))
