"""What a kernel computes and moves: its operations and its bytes, read from its loops.

Costs are those of the arithmetic that the loops spell out, so that they are taken before schedules
repeat or vectorize anything: a multiply-add is two operations; any other arithmetic on data, a
comparison, and a call such as ``exp`` is one; index arithmetic, selections and conversions are
none. A convolution thus is 2·N·OH·OW·CO·KH·KW·CI/groups, and its padding nothing. Bytes are those
that have to cross from and to memory at least: each input once, as far as it is read, and each
output once.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import tvm
from tvm import ir, relax, s_tir, tirx

from ingot.runtime.manifest import KernelCost

OPERATIONS_ATTRIBUTE = "ingot.operations"
BYTES_ATTRIBUTE = "ingot.bytes"
FAMILY_ATTRIBUTE = "ingot.family"

INTEGER_OPERATORS = frozenset({"integer_conv2d", "integer_matmul"})
"""Ingot's own operators (``selection/words``): nearly all they do is on 8-bit integers."""
BFLOAT16_OPERATORS = frozenset({"bfloat16_conv2d", "bfloat16_matmul"})
"""Those whose products are of bfloat16."""

Multiplied: TypeAlias = Literal["float32", "int8", "bfloat16"]
"""What operations are on."""

_BINARY = (
    tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod, tirx.Min,
    tirx.Max, tirx.EQ, tirx.NE, tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.And, tirx.Or,
)  # fmt: skip
# Calls that compute nothing themselves; a fused multiply-add is two operations; others are one.
_CALLS = {"if_then_else": 0, "likely": 0, "reinterpret": 0, "opaque": 0, "fma": 2}


def kernel_costs(module: tvm.IRModule) -> dict[str, KernelCost]:
    """Returns the cost of each prim func of a fused Relax module, by the name it is called by.

    A kernel that was written with its schedule says its cost itself, in the attributes
    ``ingot.operations`` (int), ``ingot.bytes`` (int) and ``ingot.family`` (str, operators joined by
    ``+``); what it leaves out is read from its loops.

    Args:
        module: A module after ``FuseTIR`` and before any schedule.
    """
    calls = _call_counts(module)
    costs = {}
    for variable, function in module.functions_items():
        name = variable.name_hint
        if isinstance(function, tirx.PrimFunc):
            costs[name] = _cost(name, function, calls[name])
    return costs


def multiplied(operators: str) -> Multiplied:
    """Returns what the multiply-adds of a kernel are on, by its operators, joined by ``+``."""
    chain = operators.split("+")
    if not INTEGER_OPERATORS.isdisjoint(chain):
        return "int8"
    return "float32" if BFLOAT16_OPERATORS.isdisjoint(chain) else "bfloat16"


def _cost(name: str, function: tirx.PrimFunc, calls: int) -> KernelCost:
    attributes = function.attrs or {}
    if OPERATIONS_ATTRIBUTE in attributes and BYTES_ATTRIBUTE in attributes:
        operations, size = attributes[OPERATIONS_ATTRIBUTE], attributes[BYTES_ATTRIBUTE]
    else:
        counter = _Counter()
        counter.statement(function.body, 1)
        operations = attributes.get(OPERATIONS_ATTRIBUTE, counter.operations)
        size = attributes.get(BYTES_ATTRIBUTE, _bytes_moved(function, counter))
    return KernelCost(
        operators=str(attributes.get(FAMILY_ATTRIBUTE, operator_chain(name))),
        operations=None if operations is None else int(operations),
        bytes=None if size is None else int(size),
        calls=calls,
    )


def operator_chain(name: str) -> str:
    """Returns the operators that a fused function's name lists.

    Example:
        >>> operator_chain("fused_conv2d12_add7_tir_sigmoid3_max_pool2d")
        'conv2d+add+sigmoid+max_pool2d'
    """
    words = name.removeprefix("fused_").split("_")
    chain = []
    while words:
        taken, operator = next(
            (
                (count, known)
                for count in range(len(words), 1, -1)
                if (known := _known_operator("_".join(words[:count])))
            ),
            (1, _known_operator(words[0]) or _numberless(words[0])),
        )
        words = words[taken:]
        # TVM's mark of a function that it made of an operator without one.
        if operator and operator != "tir":
            chain.append(operator)
    return "+".join(chain)


def _known_operator(text: str) -> str | None:
    return next((each for each in (text, _numberless(text)) if each in _operator_names()), None)


def _numberless(text: str) -> str:
    return re.sub(r"\d+$", "", text)


@functools.cache
def _operator_names() -> frozenset[str]:
    """The last part of the name of each Relax operator, such as ``max_pool2d``, and Ingot's own."""
    names = [str(name) for name in ir.Op.list_op_names() if str(name).startswith("relax.")]
    own = INTEGER_OPERATORS | BFLOAT16_OPERATORS
    return own.union(name.rpartition(".")[2] for name in names)


def _call_counts(module: tvm.IRModule) -> collections.Counter[str]:
    """How many places call each function."""
    counts: collections.Counter[str] = collections.Counter()

    def count(expression: Any) -> None:
        if isinstance(expression, relax.Call):
            candidates = (expression.op, *expression.args[:1])
            counts.update(c.name_hint for c in candidates if isinstance(c, ir.GlobalVar))

    for _, function in module.functions_items():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, count)
    return counts


def _bytes_moved(function: tirx.PrimFunc, counter: _Counter) -> int | None:
    """Bytes of the parameters, of each not more than is read or written; None if symbolic."""
    total = 0
    for parameter in function.params:
        if not isinstance(parameter.ty, tirx.BufferType):
            continue
        elements = _product(parameter.shape)
        moved = None if elements is None else counter.elements_moved(parameter, elements)
        if moved is None:
            return None
        total += moved * _element_bytes(parameter.dtype)
    return total


def _element_bytes(dtype: object) -> int:
    # A truth value takes a byte; NumPy has no other name for it either.
    return np.dtype(str(dtype)).itemsize


def _product(extents: Iterable[Any]) -> int | None:
    size = 1
    for extent in extents:
        if not isinstance(extent, (int, tirx.IntImm)):
            return None
        size *= int(extent)
    return size


@dataclasses.dataclass
class _Counter:
    """Counts in a prim func's body, each statement as often as the loops around it run.

    Attributes:
        operations: Counted so far; None once a loop's extent is symbolic.
        reads: How many elements are read from a buffer, the same ones again included.
        written: The buffers that are written.
    """

    operations: int | None = 0
    reads: dict[Any, int | None] = dataclasses.field(default_factory=dict)
    written: set[Any] = dataclasses.field(default_factory=set)
    _data: set[Any] = dataclasses.field(default_factory=set)
    _sums: set[Any] = dataclasses.field(default_factory=set)
    _views: dict[Any, Any] = dataclasses.field(default_factory=dict)

    def elements_moved(self, buffer: tirx.Var, size: int) -> int | None:
        """Elements of a buffer of ``size`` that are read and written; None if it is not known."""
        reads, written = self.reads.get(buffer, 0), buffer in self.written
        if reads is None:
            return None
        # What no statement names is handed on whole, to a function of the runtime.
        return min(reads, size) + size * written if reads or written else size

    def statement(self, statement: Any, times: int | None) -> None:
        """Counts a statement that runs ``times`` times (None: an unknown number)."""
        if isinstance(statement, tirx.SeqStmt):
            for each in statement.seq:
                self.statement(each, times)
        elif isinstance(statement, tirx.For):
            extent = _product([statement.extent])
            self.statement(statement.body, _times(times, extent))
        elif isinstance(statement, tirx.While):
            self.statement(statement.body, None)
        elif isinstance(statement, s_tir.SBlockRealize):
            # Of a reduction only the update: what it begins with is no arithmetic, and what it
            # has summed up so far is no input.
            if statement.block.init is not None:
                self._sums.update(region.source for region in statement.block.writes)
            self.statement(statement.block.body, times)
        elif isinstance(statement, tirx.IfThenElse):
            self._count(statement.condition, times)
            self.statement(statement.then_case, times)
            if statement.else_case is not None:
                self.statement(statement.else_case, times)
        elif isinstance(statement, tirx.DeclBuffer):
            self._note_view(statement)
        elif isinstance(statement, tirx.BufferStore):
            self.written.add(self._whole(statement.buffer))
            for index in statement.indices:
                self._expression(index, times)
            self._count(statement.value, times)
        elif isinstance(statement, tirx.Bind):
            if self._count(statement.value, times):
                self._data.add(statement.var)
        elif isinstance(statement, tirx.Evaluate):
            self._count(statement.value, times)
        elif hasattr(statement, "body"):
            self.statement(statement.body, times)

    def _note_view(self, statement: tirx.DeclBuffer) -> None:
        """Notes a buffer that is another one's memory in another shape."""
        data = statement.data
        if isinstance(data, ir.Call) and len(data.args) == 1 and isinstance(data.args[0], tirx.Var):
            self._views[statement.buffer] = self._whole(data.args[0])

    def _whole(self, buffer: Any) -> Any:
        """The buffer that a view is of, or the buffer itself."""
        return self._views.get(buffer, buffer)

    def _count(self, expression: Any, times: int | None) -> bool:
        """Adds the operations of an expression; returns whether it holds data."""
        operations, data = self._expression(expression, times)
        added = _times(times, operations) if operations else 0
        self.operations = (
            None if self.operations is None or added is None else self.operations + added
        )
        return data

    def _expression(self, expression: Any, times: int | None) -> tuple[int, bool]:
        """Returns an expression's operations on data, and whether its value is data."""
        if isinstance(expression, ir.TensorLoad):
            for index in expression.indices:
                self._expression(index, times)
            source = self._whole(expression.source)
            if source not in self._sums:
                before = self.reads.get(source, 0)
                elements = _times(times, _lanes(expression))
                read = None if before is None or elements is None else before + elements
                self.reads[source] = read
            return 0, True
        if isinstance(expression, tirx.Let):
            value, is_data = self._expression(expression.value, times)
            if is_data:
                self._data.add(expression.var)
            body, data = self._expression(expression.body, times)
            return value + body, data
        if isinstance(expression, tirx.Var):
            return 0, expression in self._data
        operands, own = _parts(expression)
        counted = [self._expression(operand, times) for operand in operands]
        data = any(is_data for _, is_data in counted)
        added = own * _lanes(expression) if own and data else 0
        return sum(operations for operations, _ in counted) + added, data


def _parts(expression: Any) -> tuple[Sequence[Any], int]:
    """The operands of an expression, and how many operations it is if they are data."""
    if isinstance(expression, _BINARY):
        return (expression.a, expression.b), 1
    if isinstance(expression, tirx.Not):
        return (expression.a,), 1
    if isinstance(expression, tirx.Select):
        return (expression.condition, expression.true_value, expression.false_value), 0
    if isinstance(expression, (tirx.Cast, tirx.Broadcast)):
        return (expression.value,), 0
    if isinstance(expression, ir.Call):
        name = expression.op.name if isinstance(expression.op, ir.Op) else ""
        return expression.args, _CALLS.get(name.rpartition(".")[2], 1)
    return (), 0


def _lanes(expression: Any) -> int:
    return int(expression.ty.dtype.lanes) if isinstance(expression.ty, ir.PrimType) else 1


def _times(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first * second
