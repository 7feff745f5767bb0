"""What Relax operators are as tensor expressions, where TVM's own are not what ONNX Runtime does.

* Sums, products and quotients with a constant zero: TVM computes at once that ``x * 0`` is 0, which
  it is not for NaN and infinities, and refuses ``x / 0``.
* The sign of NaN is NaN, and ``prelu`` leaves zero alone, whatever the slope.
* ``argmax`` and ``argmin`` give the first element that is better than all before it; NaN is not
  better than anything, nor is anything better than NaN.
* Integers are divided without a trap, as if by one where the divisor is zero: that is refused
  before, but for branches that are not taken. The least number divided by -1 is itself.
* Powers of integers are those of float64, converted back.
* Numbers become integers as :func:`converted` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import ir, relax, te, tirx, topi

Legalize = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]
TensorFunction = Callable[..., te.Tensor]


def converted(value: tirx.Expr, dtype: str) -> tirx.Expr:
    """Converts a number to another type as ONNX Runtime does on x86.

    Floats are cut off toward zero. ONNX leaves open what becomes of those that the type does not
    hold; here:

    * ``int32`` and ``int64``: the type's least number, for NaN and infinities too.
    * Integers of 8 and 16 bits: the lowest bits of the ``int32``; ``uint32`` those of the
      ``int64``.
    * ``uint64``: negative numbers wrap, and NaN is 2^63; from 2^64 on it is 0.
    * ``bool``: whether it differs from zero, which NaN does.

    On aarch64, which saturates, what is out of range for ``int32`` or ``int64`` differs.

    Args:
        value: A number, scalar.
        dtype: The type to convert to.
    """
    source = str(value.ty.dtype)
    if dtype == "bool":
        return value if source == "bool" else tirx.Not(tirx.EQ(value, tirx.const(0, source)))
    if "float" not in source or "int" not in dtype:
        return value.astype(dtype)
    if source in ("float16", "bfloat16"):
        return converted(value.astype("float32"), dtype)
    if dtype == "uint64":
        half, end = (tirx.const(bound, source) for bound in (2.0**63, 2.0**64))
        upper = tirx.Cast("int64", value - half) + tirx.min_value("int64")
        upper = tirx.Select(value < end, upper, tirx.const(0, "int64"))
        whole = tirx.Select(value >= half, upper, tirx.Cast("int64", value))
        return tirx.Cast("uint64", whole)
    middle = "int64" if dtype in ("uint32", "int64") else "int32"
    whole = tirx.Cast(middle, value)
    return whole if dtype == middle else tirx.Cast(dtype, whole)


def _by_tvm(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    return call.op.get_attr("FLegalize")(builder, call)


def _is_float(call: relax.Call) -> bool:
    return "float" in str(call.ty.dtype)


def _scalar(expression: relax.Expr) -> float | None:
    """The value of a constant without axes."""
    if not isinstance(expression, ir.GenericConst):
        return None
    array = expression.value.numpy()
    return None if array.ndim else array.item()


def _cast(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    dtype = str(call.attrs.dtype)

    def cast(data: te.Tensor) -> te.Tensor:
        return te.compute(data.shape, lambda *place: converted(data(*place), dtype), "compute")

    return builder.call_te(cast, call.args[0], primfunc_name_hint="cast")


def _unless_zero(function: TensorFunction) -> Legalize:
    """Reads a constant zero from memory, where TVM cannot compute with it."""

    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        if _is_float(call) and any(_scalar(argument) == 0 for argument in call.args):
            return builder.call_te(function, *call.args)
        return _by_tvm(builder, call)

    return legalize


def _sign(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    if not _is_float(call):
        return _by_tvm(builder, call)

    def sign(data: te.Tensor) -> te.Tensor:
        def element(*place: Any) -> tirx.Expr:
            x = data(*place)
            zero, one = (tirx.const(value, str(data.dtype)) for value in (0.0, 1.0))
            # Zeros and NaN stay what they are.
            return tirx.Select(x > zero, one, tirx.Select(x < zero, -one, x))

        return te.compute(data.shape, element, "sign")

    return builder.call_te(sign, call.args[0])


def _prelu(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Zero is no negative number, so that no slope is applied to it."""
    axis = int(call.attrs.axis)

    def prelu(data: te.Tensor, slopes: te.Tensor) -> te.Tensor:
        single = isinstance(slopes.shape[0], tirx.IntImm) and int(slopes.shape[0]) == 1

        def element(*place: Any) -> tirx.Expr:
            x = data(*place)
            slope = slopes(tirx.IntImm("int64", 0) if single else place[axis])
            return tirx.Select(x < tirx.const(0.0, str(data.dtype)), x * slope, x)

        return te.compute(data.shape, element, "prelu")

    return builder.call_te(prelu, *call.args)


def best_position(
    source: te.Tensor, axis: int, *, keepdims: bool, largest: bool, last: bool = False
) -> te.Tensor:
    """The position, int64, of the largest or smallest element along an axis.

    Args:
        source: The tensor.
        axis: The axis.
        keepdims: Whether the axis stays, with one element.
        largest: Whether the largest is looked for.
        last: Whether the last of several equal ones is meant, not the first.
    """
    step = te.reduce_axis((tirx.IntImm("int64", 0), source.shape[axis]), "step")
    kept = int(keepdims)
    shape = [*source.shape[:axis], *[tirx.IntImm("int64", 1)] * kept, *source.shape[axis + 1 :]]

    def is_better(new: tirx.Expr, old: tirx.Expr) -> tirx.Expr:
        low, high = (old, new) if largest else (new, old)
        return low <= high if last else low < high

    def combine(found: Any, other: Any) -> tuple[tirx.Expr, tirx.Expr]:
        taken = tirx.any(found[0] < 0, is_better(other[1], found[1]))
        position, value = (
            tirx.Select(taken, new, old) for new, old in zip(other, found, strict=True)
        )
        return position, value

    # Which value it is does not matter: the first element is taken for there is none before it.
    reducer = te.comm_reducer(
        combine, lambda position, value: (tirx.const(-1, position), tirx.const(0, value)), "best"
    )

    def element(*place: Any) -> Any:
        at = [*place[:axis], step, *place[axis + kept :]]
        return reducer((step.var, source(*at)), axis=step)

    positions, _ = te.compute(shape, element, "best")
    return te.compute(shape, lambda *place: positions(*place), "position")


def _best(*, largest: bool) -> Legalize:
    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        data, axis = call.args[0], call.attrs.axis
        if axis is None:
            return _by_tvm(builder, call)
        return builder.call_te(
            best_position,
            data,
            int(axis) % data.ty.ndim,
            keepdims=bool(call.attrs.keepdims),
            largest=largest,
        )

    return legalize


def _without_trap(function: TensorFunction, *, negated: bool) -> Legalize:
    """Divides integers by 1 in place of 0 and -1.

    Args:
        function: Divides tensors.
        negated: Whether the result has to be negated where the divisor was -1.
    """

    def divide(left: te.Tensor, right: te.Tensor) -> te.Tensor:
        kind = str(right.dtype)
        signed = kind.startswith("int")
        one = tirx.const(1, kind)

        def is_minus_one(value: tirx.Expr) -> tirx.Expr:
            return value.equal(tirx.const(-1, kind)) if signed else tirx.const(False, "bool")

        def divisor(*place: Any) -> tirx.Expr:
            value = right(*place)
            traps = tirx.any(value.equal(tirx.const(0, kind)), is_minus_one(value))
            return tirx.Select(traps, one, value)

        divided = function(left, te.compute(right.shape, divisor, "divisor"))
        if not (signed and negated):
            return divided

        def sign(*place: Any) -> tirx.Expr:
            return tirx.Select(is_minus_one(right(*place)), tirx.const(-1, kind), one)

        return topi.multiply(divided, te.compute(right.shape, sign, "sign"))

    def legalize(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
        if _is_float(call):
            return _unless_zero(function)(builder, call)
        if _scalar(call.args[1]) not in (None, 0, -1):
            return _by_tvm(builder, call)
        return builder.call_te(divide, *call.args)

    return legalize


def _power(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    if _is_float(call):
        return _by_tvm(builder, call)
    dtype = str(call.ty.dtype)

    def wide(tensor: te.Tensor) -> te.Tensor:
        return te.compute(tensor.shape, lambda *place: tensor(*place).astype("float64"), "wide")

    def power(base: te.Tensor, exponent: te.Tensor) -> te.Tensor:
        result = topi.power(wide(base), wide(exponent))
        return te.compute(result.shape, lambda *place: converted(result(*place), dtype), "power")

    return builder.call_te(power, *call.args)


def _mean(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Of integers it is the sum divided, in their type."""
    if _is_float(call):
        return _by_tvm(builder, call)
    axes = None if call.attrs.axis is None else [int(axis) for axis in call.attrs.axis]

    def mean(data: te.Tensor) -> te.Tensor:
        total = topi.sum(data, axes, bool(call.attrs.keepdims))
        count: Any = tirx.const(1, str(data.dtype))
        for axis in range(len(data.shape)) if axes is None else axes:
            count = count * data.shape[axis].astype(str(data.dtype))
        return te.compute(total.shape, lambda *place: tirx.truncdiv(total(*place), count), "mean")

    return builder.call_te(mean, call.args[0])


LEGALIZATIONS: Mapping[str, Legalize] = {
    "relax.add": _unless_zero(topi.add),
    "relax.argmax": _best(largest=True),
    "relax.argmin": _best(largest=False),
    "relax.astype": _cast,
    "relax.divide": _without_trap(topi.divide, negated=True),
    "relax.floor_divide": _without_trap(topi.floor_divide, negated=True),
    "relax.floor_mod": _without_trap(topi.floor_mod, negated=False),
    "relax.mean": _mean,
    "relax.mod": _without_trap(topi.mod, negated=False),
    "relax.multiply": _unless_zero(topi.multiply),
    "relax.nn.prelu": _prelu,
    "relax.power": _power,
    "relax.sign": _sign,
}
