"""Reductions: the ONNX operators ``ReduceSum``, ``ReduceMean``, ``ReduceMax`` and their kin.

Each is one of four ways to combine elements, with something done to them before and after. The
axes are attributes, constants, or computed when the model runs: then so is the result's shape.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import chosen, equal
from ingot.targets.relax.operators.inputs import require_axes

Unary = Callable[[relax.Expr], relax.Expr]


@dataclasses.dataclass(frozen=True)
class _Combination:
    """A way to combine elements.

    Attributes:
        reduce: Relax's operator, for axes that are known.
        compute: TE's, for axes that are computed.
        neutral: What nothing at all combines to, by the type.
    """

    reduce: Callable[..., relax.Expr]
    compute: Callable[..., tirx.Expr]
    neutral: Callable[[str], float]


def _lowest(dtype: str) -> float:
    is_float = dtype.startswith(("float", "bfloat"))
    return -math.inf if is_float else int(np.iinfo(dtype).min)


def _highest(dtype: str) -> float:
    is_float = dtype.startswith(("float", "bfloat"))
    return math.inf if is_float else int(np.iinfo(dtype).max)


def _combination(
    reduce: Callable[..., relax.Expr],
    combine: Callable[[tirx.Expr, tirx.Expr], tirx.Expr],
    neutral: Callable[[str], float],
) -> _Combination:
    compute = te.comm_reducer(
        lambda a, b: combine(a, b), lambda dtype: tirx.const(neutral(dtype), dtype), "reduced"
    )
    return _Combination(reduce, compute, neutral)


_SUM = _combination(relax.op.sum, operator.add, lambda _: 0)
_PRODUCT = _combination(relax.op.prod, operator.mul, lambda _: 1)
_MAXIMUM = _combination(relax.op.max, tirx.max, _lowest)
_MINIMUM = _combination(relax.op.min, tirx.min, _highest)

_ZERO, _ONE = tirx.IntImm("int64", 0), tirx.IntImm("int64", 1)
# Accumulated in float32.
_SHORT = ("float16", "bfloat16")


def _square(data: relax.Expr) -> relax.Expr:
    return relax.op.multiply(data, data)


class _Reducer:
    """Reduces along the axes of one node.

    Args:
        builder: The block builder to emit to.
        inputs: The data and, if they are an input, the axes.
        attributes: ``axes``, ``keepdims`` (1), ``noop_with_empty_axes`` (0).

    Raises:
        UnsupportedOperatorError: The number of axes, or a rank, is not known.
    """

    def __init__(
        self, builder: Builder, inputs: Sequence[Any], attributes: Mapping[str, Any]
    ) -> None:
        self.builder = builder
        self._keep = bool(attributes.get("keepdims", 1))
        data = inputs[0]
        if data.ty.shape is None:
            raise UnsupportedOperatorError("the shape of what is reduced is not known")
        self._sizes = list(data.ty.shape)
        self._rank = len(self._sizes)
        given = inputs[1] if len(inputs) > 1 else None
        self._computed: relax.Expr | None = None
        self._given: Sequence[Any] | None = None
        self._kept_variables: list[tirx.Var] | None = None
        self._staying_variables: list[tirx.Var] | None = None
        self._axes: tuple[int, ...] = tuple(attributes.get("axes", ()))
        if isinstance(given, tvm.ir.GenericConst):
            self._axes = tuple(int(axis) for axis in given.value.numpy())
        elif given is not None and _length(given) > 0:
            self._computed = given
        self.does_nothing = (
            not self._axes
            and self._computed is None
            and bool(attributes.get("noop_with_empty_axes", 0))
        )
        self._axes = tuple(sorted({axis % max(1, self._rank) for axis in self._axes}))
        if not self._axes and not self.does_nothing:
            self._axes = tuple(range(self._rank))

    def reduce(
        self, data: relax.Expr, combination: _Combination, *, keep: bool | None = None
    ) -> relax.Expr:
        """Combines elements along the axes; the axes stay, of size one, or as the node says."""
        keep = self._keep if keep is None else keep
        if self.does_nothing or not self._rank:
            return data
        if self._computed is not None:
            return self._along_computed(data, combination, keep)
        sizes = list(data.ty.shape)
        if any(_is_zero(sizes[axis]) for axis in self._axes):
            kept = [
                _ONE if axis in self._axes else size
                for axis, size in enumerate(sizes)
                if keep or axis not in self._axes
            ]
            dtype = str(data.ty.dtype)
            value = relax.const(combination.neutral(dtype), dtype)
            return self.builder.emit(relax.op.broadcast_to(value, relax.ShapeExpr(kept)))
        return self.builder.emit(combination.reduce(data, axis=list(self._axes), keepdims=keep))

    def mean(self, data: relax.Expr) -> relax.Expr:
        """Returns the mean along the axes."""
        known = [data.ty.shape[axis] for axis in self._axes]
        if self._computed is None and not any(map(_is_zero, known)):
            if self.does_nothing:
                return data
            return relax.op.mean(data, axis=list(self._axes), keepdims=self._keep)
        # Ones are counted; of nothing the mean is NaN.
        ones = self.builder.emit(relax.op.ones_like(data))
        return relax.op.divide(self.reduce(data, _SUM), self.reduce(ones, _SUM))

    def remove_axes(self, data: relax.Expr) -> relax.Expr:
        """Returns data whose reduced axes stayed in the shape that the node asks for."""
        if self._keep or self.does_nothing or not self._rank:
            return data
        if self._computed is None:
            return relax.op.squeeze(data, list(self._axes))
        return self._without_axes(data)

    def subtract(self, data: relax.Expr, reduced: relax.Expr) -> relax.Expr:
        """Subtracts from each element what those of its row were reduced to, the axes kept."""
        if self._computed is None:
            return self.builder.emit(relax.op.subtract(data, reduced))

        def compute(tensor: te.Tensor, rows: te.Tensor) -> te.Tensor:
            def element(*place: tirx.Var) -> tirx.Expr:
                row = [tirx.min(at, size - 1) for at, size in zip(place, rows.shape, strict=True)]
                return tensor(*place) - rows(*row)

            return te.compute(tensor.shape, element, "difference")

        return self.builder.emit_te(compute, data, reduced, primfunc_name_hint="subtract")

    def _along_computed(
        self, data: relax.Expr, combination: _Combination, keep: bool
    ) -> relax.Expr:
        def compute(tensor: te.Tensor, result: list[tirx.Expr]) -> te.Tensor:
            # A size that stays is visited once for each of its elements, another one as a whole.
            steps = [
                te.reduce_axis((0, tirx.floordiv(size, tirx.max(left, 1))), "step")
                for size, left in zip(tensor.shape, result, strict=True)
            ]

            def element(*place: tirx.Var) -> tirx.Expr:
                at = [own + step for own, step in zip(place, steps, strict=True)]
                return combination.compute(tensor(*at), axis=steps)

            return te.compute(result, element, "reduced")

        result = relax.ShapeExpr(self._kept())
        reduced = self.builder.emit_te(compute, data, result, primfunc_name_hint="reduce")
        return reduced if keep else self._without_axes(reduced)

    def _without_axes(self, reduced: relax.Expr) -> relax.Expr:
        if self._staying_variables is None:
            self._staying_variables = self._staying_sizes()
        return self.builder.emit(
            relax.op.reshape(reduced, relax.ShapeExpr(self._staying_variables))
        )

    def _kept(self) -> list[tirx.Var]:
        if self._kept_variables is None:
            self._kept_variables = self._kept_sizes()
        return self._kept_variables

    def _kept_sizes(self) -> list[tirx.Var]:
        """The sizes with one in place of those that are reduced."""
        flags = self._flags()
        return self.builder.bind(
            [chosen(flag, 1, size) for flag, size in zip(flags, self._sizes, strict=True)]
        )

    def _staying_sizes(self) -> list[tirx.Var]:
        """The sizes without those that are reduced."""
        assert self._computed is not None
        before: list[Any] = [0]
        for flag in self._flags():
            before.append(before[-1] + chosen(flag, 0, 1))
        sizes = []
        for position in range(self._rank - _length(self._computed)):
            size: Any = 0
            for axis, flag in enumerate(self._flags()):
                here = tirx.all(tirx.Not(flag), equal(before[axis], position))
                size = size + chosen(here, self._sizes[axis], 0)
            sizes.append(size)
        return self.builder.bind(sizes)

    def _flags(self) -> list[tirx.Expr]:
        """The conditions that an axis is reduced, for each axis."""
        if self._given is None:
            self._given = self.builder.values_of(self._computed).flat
            require_axes(self.builder, self._given, self._rank)
        return [
            tirx.any(*[
                tirx.any(equal(given, axis), equal(given, axis - self._rank))
                for given in self._given
            ])
            for axis in range(self._rank)
        ]  # fmt: skip


def _length(axes: relax.Expr) -> int:
    size = None if axes.ty.shape is None else axes.ty.shape[0]
    if not isinstance(size, tirx.IntImm):
        raise UnsupportedOperatorError("the number of axes is known only when the model runs")
    return int(size.value)


def _is_zero(size: Any) -> bool:
    return isinstance(size, tirx.IntImm) and int(size.value) == 0


Reduce = Callable[[_Reducer, relax.Expr], relax.Expr]


def _log_sum_exp(reducer: _Reducer, data: relax.Expr) -> relax.Expr:
    """The logarithm of the sum of exponentials, none of which overflows."""
    if reducer.does_nothing:
        return data
    builder, dtype = reducer.builder, str(data.ty.dtype)
    largest = reducer.reduce(data, _MAXIMUM, keep=True)
    finite = builder.emit(relax.op.isfinite(largest))
    shift = builder.emit(relax.op.where(finite, largest, relax.const(0, dtype)))
    powers = builder.emit(relax.op.exp(reducer.subtract(data, shift)))
    total = reducer.reduce(powers, _SUM, keep=True)
    logarithm = builder.emit(relax.op.log(total))
    return reducer.remove_axes(builder.emit(relax.op.add(logarithm, shift)))


def _combined(combination: _Combination, before: Unary | None, after: Unary | None) -> Reduce:
    def reduce(reducer: _Reducer, data: relax.Expr) -> relax.Expr:
        data = data if before is None else reducer.builder.emit(before(data))
        data = reducer.reduce(data, combination)
        return data if after is None else after(data)

    return reduce


def _converter(reduce: Reduce, *, of_floats: bool = False) -> Callable[..., relax.Expr]:
    """Returns the converter of an operator.

    Args:
        reduce: What it does.
        of_floats: Whether integers are computed with as floats, and cut off.
    """

    def convert(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
        data = inputs[0]
        dtype = str(data.ty.dtype)
        wide = "float32" if dtype in _SHORT else "int8" if dtype == "bool" else dtype
        if of_floats and not wide.startswith("float"):
            wide = "float64"
        reducer = _Reducer(builder, inputs, attributes)
        if wide == dtype:
            return reduce(reducer, data)
        computed = builder.emit(reduce(reducer, builder.emit(relax.op.astype(data, wide))))
        return relax.op.astype(computed, dtype)

    return convert


REDUCTIONS: Mapping[str, Callable[..., relax.Expr]] = {
    "ReduceL1": _converter(_combined(_SUM, relax.op.abs, None)),
    "ReduceL2": _converter(_combined(_SUM, _square, relax.op.sqrt), of_floats=True),
    "ReduceLogSum": _converter(_combined(_SUM, None, relax.op.log), of_floats=True),
    "ReduceLogSumExp": _converter(_log_sum_exp, of_floats=True),
    "ReduceMax": _converter(_combined(_MAXIMUM, None, None)),
    "ReduceMean": _converter(_Reducer.mean),
    "ReduceMin": _converter(_combined(_MINIMUM, None, None)),
    "ReduceProd": _converter(_combined(_PRODUCT, None, None)),
    "ReduceSum": _converter(_combined(_SUM, None, None)),
    "ReduceSumSquare": _converter(_combined(_SUM, _square, None)),
}
