"""Quantization at the end of an epilogue: what rounds, saturates and narrows, in few instructions.

As Relax spells it out, quantization is eight element-wise operators, because layouts and fusion
know these. Here they become one. The reciprocal of the scale goes into the constants before it
where there are such (a convolution's factor and bias); bounds that the integers have anyway (those
of ReLU, or of a ReLU6 whose range ends at six) are left out; the rest is one minimum, one
conversion that rounds half to even, and the narrowing with saturation that processors have.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import OP_PATTERN, Selection, Selector

Floats = npt.NDArray[np.float32]

# TVM's class of such functions.
_ELEMENT_WISE = 0
_BOUNDS = {"relax.maximum": np.maximum, "relax.minimum": np.minimum}
# How many operators back a scale is moved at most: each may have several operands to look at.
_MOST_FOLDED = 6
# Far beyond 8 bits, and far within 32.
_MOST = 2.0**24


@dataclasses.dataclass(frozen=True)
class _Quantization:
    """What a conversion to 8 bits stands for.

    Attributes:
        value: What is quantized.
        factor: What it is multiplied with, shaped for broadcasting.
        zero_point: What is added behind the rounding.
        dtype: The integers' type.
    """

    value: relax.Expr
    factor: Floats
    zero_point: int
    dtype: str

    @classmethod
    def of(cls, selection: Selection, call: relax.Call) -> _Quantization | None:
        """Reads the operators that ``quantized.integer_arithmetic`` wrote; None for others."""
        dtype = str(call.ty.dtype)
        if dtype not in ("uint8", "int8"):
            return None
        limits = np.iinfo(dtype)
        found: relax.Expr | None = call.args[0]
        for operator, limit in (("relax.minimum", limits.max), ("relax.maximum", limits.min)):
            step = _call(selection, found, operator)
            if step is None or not _is_scalar(step.args[1], float(limit)):
                # TVM writes a maximum with zero as a ReLU.
                step = _call(selection, found, "relax.nn.relu")
                if step is None or operator != "relax.maximum" or limit:
                    return None
            found = step.args[0]
        zero_point = 0
        shifted = _call(selection, found, "relax.add")
        if shifted is not None:
            constant = _constant(shifted.args[1])
            if constant is None or constant.size != 1:
                return None
            zero_point, found = int(constant.reshape(())), shifted.args[0]
        rounded = _call(selection, found, "relax.round")
        product = None if rounded is None else _call(selection, rounded.args[0], "relax.multiply")
        factor = None if product is None else _constant(product.args[1])
        if product is None or factor is None:
            return None
        return cls(product.args[0], factor, zero_point, dtype)


def select_quantization(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects one operator for the quantization of a float tensor."""
    found = _Quantization.of(selection, call)
    if found is None:
        return None
    limits = np.iinfo(found.dtype)
    value = _without_bounds(selection, found)
    scaled = _scaled(selection, value, found.factor, _MOST_FOLDED)
    if scaled is None:
        factor = relax.const(found.factor)
        scaled = selection.builder.emit(relax.op.multiply(value, factor))
    # Not part of the code, or layers that differ in nothing else would be compiled one by one.
    zero_points = [relax.const(np.array([found.zero_point], np.int32))] if found.zero_point else []

    def quantize(x: te.Tensor, *zero_point: te.Tensor) -> te.Tensor:
        def element(*place: Any) -> Any:
            # Beyond 32 bits the conversion gives the least integer, to which no negative zero
            # point must be added.
            bounded = tirx.Min(x(*place), tirx.const(_MOST, "float32"))
            if limits.min < 0:
                # NaN, which is not above it, becomes it.
                low = tirx.const(-_MOST, "float32")
                bounded = tirx.Select(bounded > low, bounded, low)
            rounded = tirx.call_llvm_pure_intrin("int32", "llvm.lrint", bounded)
            for tensor in zero_point:
                rounded = rounded + tensor(index(0))
            # In two steps, which are the saturating instructions that vector units have.
            half = tirx.Cast("int16", _clamped(rounded, np.iinfo(np.int16), "int32"))
            return tirx.Cast(found.dtype, _clamped(half, limits, "int16"))

        return te.compute(x.shape, element, name="quantize")

    return selection.builder.call_te(
        quantize,
        scaled,
        *zero_points,
        primfunc_name_hint="quantize",
        primfunc_attrs={OP_PATTERN: _ELEMENT_WISE},
    )


def _clamped(value: Any, limits: np.iinfo[Any], dtype: str) -> Any:
    low, high = (tirx.const(int(end), dtype) for end in (limits.min, limits.max))
    return tirx.Max(tirx.Min(value, high), low)


def _without_bounds(selection: Selection, found: _Quantization) -> relax.Expr:
    """What is quantized, before bounds that the integers' own make superfluous."""
    limits, value = np.iinfo(found.dtype), found.value
    while True:
        call: Any = selection.producer(value) if isinstance(value, relax.Var) else None
        name = _name(call)
        if name == "relax.nn.relu":
            bound: Floats | None = np.zeros((), np.float32)
        elif name in _BOUNDS:
            bound = _constant(call.args[1])
        else:
            return value
        if bound is None or bound.size != 1:
            return value
        reached = float(np.rint(np.float32(bound.reshape(())) * found.factor).max())
        reached += found.zero_point
        upper = name == "relax.minimum"
        if not (reached >= limits.max if upper else reached <= limits.min):
            return value
        value = call.args[0]


def _scaled(
    selection: Selection, value: relax.Expr, factor: Floats, depth: int
) -> relax.Expr | None:
    """The product of a value with a factor, folded into constants; None where it cannot be."""
    constant = _constant(value)
    if constant is not None:
        return relax.const(np.asarray(constant * factor, np.float32))
    if not depth or not isinstance(value, relax.Var) or selection.uses(value) != 1:
        return None
    call: Any = selection.producer(value)
    name, builder = _name(call), selection.builder
    if name == "relax.multiply":
        constant = _constant(call.args[1])
        if constant is None:
            return None
        product = relax.const(np.asarray(constant * factor, np.float32))
        return builder.emit(relax.op.multiply(call.args[0], product))
    if name == "relax.nn.relu":
        inner = _scaled(selection, call.args[0], factor, depth - 1)
        return None if inner is None else builder.emit(relax.op.nn.relu(inner))
    if name in ("relax.add", *_BOUNDS):
        operands = [_scaled(selection, operand, factor, depth - 1) for operand in call.args]
        if any(operand is None for operand in operands):
            return None
        return builder.emit(relax.Call(call.op, operands, call.attrs))
    return None


def _call(selection: Selection, value: Any, operator: str) -> Any:
    found = selection.producer(value) if isinstance(value, relax.Var) else None
    return found if _name(found) == operator else None


def _name(expression: Any) -> str:
    return getattr(expression.op, "name", "") if isinstance(expression, relax.Call) else ""


def _constant(expression: relax.Expr) -> Floats | None:
    if not isinstance(expression, tvm.ir.GenericConst):
        return None
    array: Floats = expression.value.numpy()
    return array if array.dtype == np.float32 else None


def _is_scalar(expression: relax.Expr, value: float) -> bool:
    constant = _constant(expression)
    return constant is not None and constant.size == 1 and float(constant.reshape(())) == value


QUANTIZATION_SELECTORS: dict[str, Selector] = {"relax.astype": select_quantization}
