"""Checks of the values that a model is given or computes: indices, lengths, divisors.

A check is a pass over the values that compares, in vectors, and raises ``InputError`` with the node
and the value. It is made before anything is emitted that relies on it. Both branches of an ``If``
are computed: in one, a check counts only where the branch is the one that is taken, and what is
emitted behind it must do no harm otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.tirx import stmt as statements

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import Size, as_expression, at_least, simplified
from ingot.targets.relax.loops import LoopFunction, load, nest, sequence, store

_FIRST = [0]


def require_indices(builder: Builder, indices: relax.Expr, limits: Sequence[Size]) -> None:
    """Has it checked that indices are in ``[-limit, limit)``.

    Args:
        builder: The builder to emit to.
        indices: A tensor of integers.
        limits: One limit, or one for each position along the last dimension of ``indices``.

    Raises:
        UnsupportedOperatorError: A branch may index what has no entries, so that there is no index
            that does no harm.
    """
    if builder.taken is not None and not all(at_least(limit, 1) for limit in limits):
        raise UnsupportedOperatorError("a branch indexes what may turn out to be empty")
    bounds = [(0 - limit, limit) for limit in limits]
    require_between(builder, indices, bounds, "index {0} is outside of {2} entries")


def require_between(
    builder: Builder, values: relax.Expr, bounds: Sequence[tuple[Size, Size]], message: str
) -> None:
    """Has it checked that each of some integers is at least the first, and below the second bound.

    Args:
        builder: The builder to emit to.
        values: A tensor of integers.
        bounds: Of all values, or those of each position along their last dimension.
        message: What is wrong otherwise; ``{0}`` stands for the value, ``{1}`` and ``{2}`` for its
            bounds, ``{3}`` for the largest value that is right.

    Raises:
        UnsupportedOperatorError: A constant one never is.
    """
    if isinstance(values, tvm.ir.GenericConst) and _are_between(values, bounds, message):
        return
    check = _Check(builder, values)
    rank = len(check.source.shape)
    for position, (low, high) in enumerate(bounds):
        free = rank if len(bounds) == 1 else rank - 1
        rest = [] if len(bounds) == 1 else [as_expression(position)]
        check.between(free, rest, (low, high), message)
    check.emit()


def require_each(
    builder: Builder,
    values: relax.Expr,
    fails: Callable[[tirx.Expr], tirx.Expr],
    message: str,
) -> None:
    """Has it checked that something is wrong with no element of a tensor.

    Args:
        builder: The builder to emit to.
        values: The tensor.
        fails: What is wrong. (TVM takes what is not less for more or equal, which NaN is not.)
        message: What is wrong otherwise.
    """
    check = _Check(builder, values)
    check.each(fails, message)
    check.emit()


def require_of_sizes(builder: Builder, condition: Any, message: str) -> None:
    """Has a condition on sizes checked that nothing relies on where its branch is not taken.

    Args:
        builder: The builder to emit to.
        condition: What has to hold.
        message: What is wrong otherwise.
    """
    condition = simplified(condition)
    if builder.taken is None or isinstance(condition, (bool, int)):
        builder.require(condition, message)
        return
    check = _Check(builder, builder.taken)
    check.holds(condition, message)
    check.emit()


def require_divisors(builder: Builder, divisors: relax.Expr) -> None:
    """Has it checked that integers to divide by are not zero.

    Raises:
        UnsupportedOperatorError: A constant one is.
    """
    kind = str(divisors.ty.dtype)
    if isinstance(divisors, tvm.ir.GenericConst):
        if not divisors.value.numpy().all():
            raise UnsupportedOperatorError("it divides by a constant zero")
        return
    require_each(builder, divisors, lambda x: tirx.EQ(x, tirx.const(0, kind)), "division by zero")


def _are_between(
    values: tvm.ir.GenericConst, bounds: Sequence[tuple[Size, Size]], message: str
) -> bool:
    """Whether constant values are known to be within bounds; they may be known not to be."""
    array = values.value.numpy()
    certain = True
    for position, (low, high) in enumerate(bounds):
        part = array if len(bounds) == 1 else array[..., position]
        if not part.size:
            continue
        if not (isinstance(low, int) and isinstance(high, int)):
            certain = False
        elif part.min() < low or part.max() >= high:
            worst = int(part.max() if part.max() >= high else part.min())
            raise UnsupportedOperatorError(message.format(worst, low, high, high - 1))
    return certain


class _Check:
    """A function that looks through a tensor."""

    def __init__(self, builder: Builder, values: relax.Expr) -> None:
        self._builder = builder
        self._function = LoopFunction(builder.node)
        self.source = self._function.tensor(values, "values")
        self._counts = (
            None if builder.taken is None else self._function.tensor(builder.taken, "taken")
        )

    def between(
        self, free: int, rest: list[tirx.Expr], bounds: tuple[Size, Size], message: str
    ) -> None:
        """Adds a pass over the places whose last indices are ``rest``."""
        kind = str(self.source.dtype)
        lowest, highest = (tirx.decl_buffer([1], kind, name) for name in ("lowest", "highest"))

        def compare(*place: tirx.Expr) -> tirx.Stmt:
            value = load(self.source, [*place, *rest])
            return sequence([
                store(lowest, tirx.min(load(lowest, _FIRST), value), _FIRST),
                store(highest, tirx.max(load(highest, _FIRST), value), _FIRST),
            ])  # fmt: skip

        low, high = (self._function.size(bound) for bound in bounds)
        least, most = (load(buffer, _FIRST).astype("int64") for buffer in (lowest, highest))
        beyond = most >= high
        worst = tirx.Select(beyond, most, least)
        self._function.body.append(sequence([
            statements.AllocBuffer(lowest),
            statements.AllocBuffer(highest),
            store(lowest, tirx.max_value(kind), _FIRST),
            store(highest, tirx.min_value(kind), _FIRST),
            nest(list(self.source.shape)[:free], compare),
            self._refuse(tirx.any(least < low, beyond), message, worst, low, high, high - 1),
        ]))  # fmt: skip

    def each(self, fails: Callable[[tirx.Expr], tirx.Expr], message: str) -> None:
        """Adds a pass over all elements."""
        found = tirx.decl_buffer([1], "int32", "found")

        def compare(*place: tirx.Expr) -> tirx.Stmt:
            failed = tirx.Cast("int32", fails(load(self.source, place)))
            return store(found, tirx.max(load(found, _FIRST), failed), _FIRST)

        self._function.body.append(sequence([
            statements.AllocBuffer(found),
            store(found, tirx.const(0, "int32"), _FIRST),
            nest(list(self.source.shape), compare),
            self._refuse(load(found, _FIRST) > 0, message),
        ]))  # fmt: skip

    def holds(self, condition: Any, message: str) -> None:
        """Adds a condition on sizes."""
        failed = tirx.Not(self._function.size(condition))
        self._function.body.append(self._refuse(failed, message))

    def _refuse(self, failed: tirx.Expr, message: str, *values: tirx.Expr) -> tirx.Stmt:
        if self._counts is not None:
            taken = load(self._counts, [0] * len(self._counts.shape))
            failed = tirx.all(taken, failed)
        return self._function.refuse(failed, message, *values)

    def emit(self) -> None:
        """Emits the call, before what is emitted next."""
        target = tirx.decl_buffer([as_expression(1)], "int64", "checked")
        self._function.body.append(store(target, as_expression(0), _FIRST))
        result: Any = self._function.call(self._builder, target, [1], "check_values")
        self._builder.checks.append(result)
