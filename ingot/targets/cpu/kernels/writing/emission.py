"""Writing prim funcs directly, statement by statement.

A schedule rewrites loops that are there; a register tile with edges, remainders and an epilogue is
shorter and plainer when it is written as what it is. The statements are TVM's own, vectors are
explicit: what stands here is what LLVM gets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import tvm
from tvm import s_tir, tirx
from tvm.tirx import stmt as statements

SCHEDULED = "tirx.is_scheduled"
_VOLATILE = "tirx.volatile"
OPERATIONS = "ingot.operations"
BYTES = "ingot.bytes"
FAMILY = "ingot.family"


class Emitter:
    """Collects the statements of a prim func's body, loops and conditions as context managers."""

    def __init__(self) -> None:
        """Begins an empty body."""
        self._open: list[list[tirx.Stmt]] = [[]]
        self._functions = 0

    def emit(self, statement: tirx.Stmt) -> None:
        """Appends a statement to the innermost open loop or condition."""
        self._open[-1].append(statement)

    def body(self) -> tirx.Stmt:
        """Returns what was emitted as one statement."""
        assert len(self._open) == 1, "a loop is still open"
        return _sequence(self._open[0])

    @contextlib.contextmanager
    def loop(
        self,
        extent: int | tirx.Expr,
        name: str,
        *,
        kind: statements.ForKind = statements.ForKind.SERIAL,
        start: int | tirx.Expr = 0,
    ) -> Iterator[tirx.Expr]:
        """Opens a loop over ``start … start + extent - 1``; yields its variable.

        A loop of one iteration is left out, and yields ``start``.
        """
        begin, count = index(start), index(extent)
        if not isinstance(begin, tirx.IntImm):
            # TVM moves loops to begin at 0, and leaves outer variables in the bounds of an inner
            # one as they were.
            begin = self.bind(f"{name}_start", begin)
            if not isinstance(count, tirx.IntImm):
                count = self.bind(f"{name}_extent", count)
        if isinstance(extent, int) and extent == 1:
            yield begin
            return
        variable = tirx.Var(name, "int64")
        self._open.append([])
        yield variable
        body = _sequence(self._open.pop())
        self.emit(statements.For(variable, begin, count, kind, body))

    def parallel(
        self, extent: int | tirx.Expr, name: str
    ) -> contextlib.AbstractContextManager[tirx.Expr]:
        """Opens a loop whose iterations the thread pool shares in contiguous, equal parts."""
        return self.loop(extent, name, kind=statements.ForKind.PARALLEL)

    def vectorized(
        self, lanes: int, name: str = "lane"
    ) -> contextlib.AbstractContextManager[tirx.Expr]:
        """Opens a loop that becomes vector code."""
        return self.loop(lanes, name, kind=statements.ForKind.VECTORIZED)

    @contextlib.contextmanager
    def when(self, condition: tirx.Expr) -> Iterator[None]:
        """Opens a condition without an else."""
        self._open.append([])
        yield
        self.emit(statements.IfThenElse(condition, _sequence(self._open.pop()), None))

    @contextlib.contextmanager
    def function(self, name: str) -> Iterator[None]:
        """Opens a machine function of its own, called here and never inlined.

        LLVM allocates registers per function. In one with many tiles it gives up on keeping each
        tile's accumulators in registers; in a function with one it does not.
        """
        self._open.append([])
        yield
        body = _sequence(self._open.pop())
        self._functions += 1
        label = tvm.ir.StringImm(f"{name}_{self._functions}")
        self.emit(statements.AttrStmt(tirx.const(0, "int32"), "compute_scope", label, body))
        # TVM goes on with the function's debug location, which LLVM refuses where an enclosing loop
        # ends here, with no statement between that has its own.
        self.emit(statements.Evaluate(tirx.call_llvm_intrin("void", "llvm.donothing")))

    def bind(self, name: str, value: tirx.Expr) -> tirx.Var:
        """Evaluates an expression once, here; returns the variable that holds it."""
        variable = tirx.Var(name, value.ty)
        self.emit(statements.Bind(variable, value))
        return variable

    def allocate(
        self,
        name: str,
        shape: Sequence[int | tirx.Expr],
        dtype: str = "float32",
    ) -> tirx.Buffer:
        """Allocates a buffer up to the end of the open loop.

        It is on the stack where its size is a constant below a kilobyte, and LLVM replaces it by
        registers where indices are constant; else it is of TVM's workspace, by a call.

        Args:
            name: Its name.
            shape: Its shape.
            dtype: Its element type.
        """
        buffer = tirx.decl_buffer([index(size) for size in shape], dtype, name)
        self.emit(statements.AllocBuffer(buffer))
        return buffer

    def opaque_zeros(self, count: int) -> list[tirx.Expr]:
        """Returns zeros that LLVM has to take for unknown, and for different from each other.

        Of a value that is loaded from several such places, LLVM does not keep one copy in a
        register: each instruction reads memory itself, which is no instruction more.
        """
        buffer = self.opaque_buffer(count)
        return [self.bind("zero", load(buffer, at)) for at in range(count)]

    def opaque_buffer(self, count: int) -> tirx.Buffer:
        """Allocates zeros, int64, of which LLVM has to take each that is loaded for unknown.

        Where accumulators begin to live after its last load, TVM may put one in its place, which
        is then no register: load from it behind them.
        """
        buffer = tirx.decl_buffer([index(count)], "int64", "zeros")
        self.emit(statements.AllocBuffer(buffer, annotations={_VOLATILE: True}))
        for at in range(count):
            self.store(buffer, index(0), [at])
        return buffer

    def store(
        self, buffer: tirx.Buffer, value: tirx.Expr, indices: Sequence[int | tirx.Expr]
    ) -> None:
        """Stores a scalar, or a vector at indices whose last is a ramp."""
        self.emit(statements.BufferStore(buffer, value, [index(i) for i in indices]))

    def prefetch(
        self, buffer: tirx.Buffer, *indices: int | tirx.Expr, level: int = 1, write: bool = False
    ) -> None:
        """Asks for the cache line of an element ahead of its use.

        Args:
            buffer: The buffer.
            indices: The element; it may lie beyond the buffer's end.
            level: The cache to bring it to, 1 or 2.
            write: Whether it will be written.
        """
        address = tirx.address_of(load(buffer, *indices))
        operands = [tirx.const(number, "int32") for number in (int(write), 4 - level, 1)]
        self.emit(
            statements.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, *operands))
        )


def _sequence(body: list[tirx.Stmt]) -> tirx.Stmt:
    if not body:
        return statements.Evaluate(tirx.const(0, "int32"))
    return body[0] if len(body) == 1 else statements.SeqStmt(body)


def index(value: int | tirx.Expr) -> tirx.Expr:
    """An index or an extent; Relax's dimensions, and so all of them, are int64."""
    return tirx.IntImm("int64", value) if isinstance(value, int) else value


def load(buffer: tirx.Buffer, *indices: int | tirx.Expr) -> tirx.Expr:
    """Loads a scalar, or a vector where the last index is a ramp."""
    return tirx.BufferLoad(buffer, [index(i) for i in indices])


def vector_at(start: int | tirx.Expr, lanes: int) -> tirx.Expr:
    """The indices of a vector: ``lanes`` consecutive elements from ``start`` on."""
    if lanes == 1:
        return index(start)
    return tirx.Ramp(index(start), index(1), lanes)


def splat(value: float | tirx.Expr, lanes: int) -> tirx.Expr:
    """A vector with the same float32 value in each lane."""
    scalar = tirx.const(value, "float32") if isinstance(value, float) else value
    return scalar if lanes == 1 else tirx.Broadcast(scalar, lanes)


def as_float(value: tirx.Expr) -> tirx.Expr:
    """Converts a scalar or a vector to float32, where it is anything else."""
    dtype = str(value.ty.dtype)
    lanes = dtype.partition("x")[2]
    wanted = f"float32x{lanes}" if lanes else "float32"
    return value if dtype == wanted else tirx.Cast(wanted, value)


def prim_func(
    parameters: Sequence[tirx.Buffer | tirx.Var],
    body: tirx.Stmt,
    *,
    name: str | None = None,
    family: str | None = None,
    operations: int | None = None,
    moved: int | None = None,
) -> tirx.PrimFunc:
    """Makes a finished prim func: no schedule touches it again.

    Without ``tirx.noalias`` LLVM would have to keep accumulators in memory.

    Args:
        parameters: Its buffers and scalars, inputs first.
        body: Its body.
        name: Its global symbol, where it has to have one.
        family: The kernel family, for the profile.
        operations: Arithmetic operations of one call, a multiply-add counted as two.
        moved: Bytes that one call reads and writes at least. With the operations it spares the
            profile to count them in the body.
    """
    # Relax asks of each prim func whether it is a mere reshape, and takes no body but a block's.
    root = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", body))
    function = tirx.PrimFunc(list(parameters), root)
    function = function.with_attr("tirx.noalias", True).with_attr(SCHEDULED, True)
    if name is not None:
        function = function.with_attr("global_symbol", name)
    if family is not None:
        function = function.with_attr(FAMILY, family)
    if operations is not None:
        function = function.with_attr(OPERATIONS, operations)
    if moved is not None:
        function = function.with_attr(BYTES, moved)
    return function
