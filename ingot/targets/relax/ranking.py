"""The first elements of rows in order of size, by a heap.

A heap of as many indices as are asked for, the last in order on top, takes in each element that
comes before its top; in the end it is taken apart from the top on. That is a comparison for each
element, and few more where few are asked for; a row is sorted in place where all are. The order is
total: what is equal stays in the order of indices, and NaN is larger than all else.
"""

from __future__ import annotations

from tvm import relax, tirx
from tvm.tirx import stmt as statements

from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import Size, as_expression, shape_of
from ingot.targets.relax.loops import LoopFunction, load, nest, sequence, store

# In which types elements are compared, where that is not their own.
_COMPARED = {"bool": "int8", "float16": "float32", "bfloat16": "float32"}
_ZERO, _ONE, _TWO = (as_expression(number) for number in (0, 1, 2))


def ranked(
    builder: Builder, data: relax.Expr, count: Size, axis: int, *, largest: bool
) -> relax.Expr:
    """Returns the indices of the first elements along an axis, int64.

    Args:
        builder: The builder to emit to.
        data: A tensor of numbers of any type.
        count: How many; no more than there are.
        axis: The axis, not negative.
        largest: Whether the largest ones come first, or the smallest.
    """
    function = LoopFunction(builder.node)
    source = function.tensor(data, "data")
    kept = function.size(count)
    sizes = [*source.shape]
    shape = [*sizes[:axis], kept, *sizes[axis + 1 :]]
    target = tirx.decl_buffer(shape, "int64", "indices")
    rows = [*sizes[:axis], *sizes[axis + 1 :]]

    def row(*place: tirx.Expr) -> tirx.Stmt:
        return _Row(source, target, list(place), axis, largest=largest).statement(kept)

    function.body.append(nest(rows, row, shared=True) if rows else row())
    own = shape_of(data)
    return function.call(builder, target, [*own[:axis], count, *own[axis + 1 :]], "ranked")


class _Row:
    """The statements that rank one row of a tensor."""

    def __init__(
        self,
        source: tirx.Buffer,
        target: tirx.Buffer,
        place: list[tirx.Expr],
        axis: int,
        *,
        largest: bool,
    ) -> None:
        self._source, self._target = source, target
        self._before, self._behind = place[:axis], place[axis:]
        self._size = list(source.shape)[axis]
        self._largest = largest
        self._is_float = "float" in str(source.dtype)
        # Where an entry of the heap goes down: its position, that of a child, and what is swapped.
        self._at, self._child, self._moved = (
            tirx.decl_buffer([_ONE], "int64", name) for name in ("at", "child", "moved")
        )
        compared = _COMPARED.get(str(source.dtype), str(source.dtype))
        self._top = tirx.decl_buffer([_ONE], compared, "top")

    def statement(self, kept: tirx.Expr) -> tirx.Stmt:
        """Fills the heap, takes in the other elements, and takes the heap apart."""
        first, child, element, taken = (
            tirx.Var(name, "int64") for name in ("first", "child", "element", "taken")
        )
        half = tirx.floordiv(kept, _TWO)
        others = tirx.Select(kept > _ZERO, self._size - kept, _ZERO)
        index = element + kept
        top = store(self._top, self._element(self._entry(_ZERO)), [0])
        # An equal one comes after those that are there: its index is higher.
        take_in = statements.IfThenElse(
            self._exceeds(self._element(index), load(self._top, [0])),
            sequence([self._set(_ZERO, index), self._sink(_ZERO, kept), top]),
            None,
        )
        last = kept - _ONE - taken
        end = sequence([*self._swap(_ZERO, last), self._sink(_ZERO, last)])
        buffers = (self._at, self._child, self._moved, self._top)
        return sequence([
            *(statements.AllocBuffer(buffer) for buffer in buffers),
            _loop(first, kept, self._set(first, first)),
            _loop(child, half, self._sink(half - _ONE - child, kept)),
            statements.IfThenElse(
                others > _ZERO, sequence([top, _loop(element, others, take_in)]), None
            ),
            _loop(taken, kept, end),
        ])  # fmt: skip

    def _sink(self, start: tirx.Expr, size: tirx.Expr) -> tirx.Stmt:
        """Lets an entry go down as long as it precedes one below it."""
        at, child = load(self._at, [0]), load(self._child, [0])
        left = at * _TWO + _ONE
        right_is_last = tirx.if_then_else(
            left + _ONE < size,
            self._precedes(self._entry(left), self._entry(left + _ONE)),
            tirx.const(False),
        )
        step = [
            store(self._child, left + tirx.Cast("int64", right_is_last), [0]),
            statements.IfThenElse(
                self._precedes(self._entry(at), self._entry(child)),
                sequence([*self._swap(at, child), store(self._at, child, [0])]),
                store(self._at, size, [0]),
            ),
        ]
        return sequence([
            store(self._at, start, [0]),
            statements.While(left < size, sequence(step)),
        ])  # fmt: skip

    def _precedes(self, first: tirx.Expr, second: tirx.Expr) -> tirx.Expr:
        """Whether an element, by its index, comes before another one."""
        one, other = self._element(first), self._element(second)
        # Not that neither exceeds the other: TVM turns what is not larger into what is smaller or
        # equal, which NaN is not.
        equal = tirx.EQ(one, other)
        if self._is_float:
            equal = tirx.any(equal, tirx.all(tirx.isnan(one), tirx.isnan(other)))
        return tirx.any(self._exceeds(one, other), tirx.all(equal, first < second))

    def _exceeds(self, one: tirx.Expr, other: tirx.Expr) -> tirx.Expr:
        larger, smaller = (one, other) if self._largest else (other, one)
        if not self._is_float:
            return larger > smaller
        only = tirx.all(tirx.isnan(larger), tirx.Not(tirx.isnan(smaller)))
        return tirx.any(larger > smaller, only)

    def _element(self, index: tirx.Expr) -> tirx.Expr:
        value = load(self._source, [*self._before, index, *self._behind])
        return value.astype(str(self._top.dtype))

    def _entry(self, position: tirx.Expr) -> tirx.Expr:
        return load(self._target, [*self._before, position, *self._behind])

    def _set(self, position: tirx.Expr, index: tirx.Expr) -> tirx.Stmt:
        return store(self._target, index, [*self._before, position, *self._behind])

    def _swap(self, first: tirx.Expr, second: tirx.Expr) -> list[tirx.Stmt]:
        return [
            store(self._moved, self._entry(first), [0]),
            self._set(first, self._entry(second)),
            self._set(second, load(self._moved, [0])),
        ]


def _loop(variable: tirx.Var, extent: tirx.Expr, body: tirx.Stmt) -> tirx.Stmt:
    return statements.For(variable, _ZERO, extent, statements.ForKind.SERIAL, body)
