"""From QDQ to integer arithmetic, in Relax.

A convolution or matmul between ``dequantize`` of activations and of constant weights becomes one
of centred integers (``value - zero point``, int16) with sums in int32, and one float32 factor per
column behind it. A depthwise convolution, or one of groups of few channels, stays one of float32,
whose values are these integers: its sums are exact all the same, because they have few terms.
Every other ``quantize`` and ``dequantize`` becomes the element-wise arithmetic that it stands for,
to be fused into what precedes and follows it:

* ``dequantize(q) = (q - zero_point) * scale``
* ``quantize(x) = clamp(round(x * (1 / scale)) + zero_point)``, rounded half to even.

ONNX divides by the scale; the product with its reciprocal differs from the quotient only where the
quotient lies within float32's rounding of the middle between two integers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, tirx

from ingot.targets.cpu.selection.base import OP_PATTERN, OUT_ELEMENTWISE_FUSABLE, is_call
from ingot.targets.relax.operators.integer_products import Weights

Array = npt.NDArray[Any]

_DEQUANTIZE = "relax.dequantize"
_QUANTIZE = "relax.quantize"
# Of weights: a matmul of more is a batch of products.
_MATRIX_AXES = 2
_CONVOLUTIONS = {"relax.nn.conv1d": relax.op.nn.conv1d, "relax.nn.conv2d": relax.op.nn.conv2d}
_PRODUCTS = frozenset({"relax.matmul", *_CONVOLUTIONS})
_BYTES = ("uint8", "int8")
# Output channels of a group from which on kernels of integers are worth it: with half of a vector
# of AVX-512 or a whole one of AVX2, they multiply more per instruction than those of float32.
_FEWEST_FILTERS = 8
# Between two numbers of 8 bits; and up to where float32 has all integers.
_LARGEST_DISTANCE, _EXACT_IN_FLOATS = 255, 1 << 24


@dataclasses.dataclass(frozen=True)
class _Operand:
    """What a ``dequantize`` reads.

    Attributes:
        values: The integers, an expression or a constant's array.
        scale: The scales, of one element or one per index of ``axis``.
        zero_point: The zero points, likewise.
        axis: The axis that scales belong to.
    """

    values: Any
    scale: Array
    zero_point: Array
    axis: int

    @property
    def per_tensor(self) -> bool:
        return self.scale.size == 1 and self.zero_point.size == 1


@relax.expr_functor.mutator
class _IntegerArithmetic(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        # The operands of a convolution are looked at before their dequantization is written out.
        operator = getattr(call.op, "name", "")
        if operator in _PRODUCTS:
            replaced = self._product(call, operator == "relax.matmul")
            if replaced is not None:
                return replaced
        if operator == _DEQUANTIZE:
            return self._dequantize(call)
        if operator == _QUANTIZE:
            return self._quantize(call)
        return self.visit_expr_post_order(call)

    def _operand(self, expression: relax.Expr) -> _Operand | None:
        """Returns what was dequantized, a transposition of constants included."""
        call = self._bound(expression)
        axes = None
        if is_call(call, "relax.permute_dims"):
            axes = call.attrs.axes
            axes = None if axes is None else [int(axis) for axis in axes]
            permuted, call = call, self._bound(call.args[0])
            if axes is None:
                axes = list(reversed(range(len(permuted.ty.shape))))
        if not is_call(call, _DEQUANTIZE):
            return None
        values, scale, zero_point = call.args
        if not all(isinstance(given, tvm.ir.GenericConst) for given in (scale, zero_point)):
            return None
        rank = len(call.ty.shape)
        axis = int(call.attrs.axis) % max(rank, 1)
        if isinstance(values, tvm.ir.GenericConst):
            values = values.value.numpy()
            if axes is not None:
                values, axis = values.transpose(axes), axes.index(axis)
        elif axes is not None:
            return None
        return _Operand(values, scale.value.numpy(), zero_point.value.numpy(), axis)

    def _bound(self, expression: relax.Expr) -> Any:
        found = self._definitions.get(expression) if isinstance(expression, relax.Var) else None
        return expression if found is None else found

    def _product(self, call: relax.Call, is_matmul: bool) -> relax.Expr | None:
        rows, weights = (self._operand(argument) for argument in call.args[:2])
        if rows is None or weights is None or not rows.per_tensor:
            return None
        if isinstance(rows.values, np.ndarray) or not isinstance(weights.values, np.ndarray):
            return None
        array = weights.values
        column_axis = 1 if is_matmul else 0
        if (
            str(array.dtype) not in _BYTES
            or str(rows.values.ty.dtype) not in _BYTES
            or (is_matmul and array.ndim != _MATRIX_AXES)
            or not (weights.scale.size == 1 or weights.axis == column_axis)
        ):
            return None
        split = Weights.of(array, _along(weights.zero_point, column_axis, array.ndim))
        in_floats = not is_matmul and _is_summed_in_floats(call, split)
        if split.excess is not None:
            if not (in_floats or is_matmul or int(call.attrs.groups) == 1):
                return None
            if in_floats:
                # In float32 integers need not be bytes.
                split = Weights(split.integers + split.excess, None)
        factor = rows.scale.reshape(()) * weights.scale.reshape(-1)
        columns = (-1,) if is_matmul else (1, -1, *(1,) * (array.ndim - 2))
        factor = _constant(factor.reshape(columns))
        values = self.visit_expr(rows.values)
        zero_point = int(rows.zero_point.reshape(()))
        if str(values.ty.dtype) == "int8":
            values, zero_point = self._unsigned(values), zero_point + 128
        dtype, total = ("float32", "float32") if in_floats else ("int16", "int32")
        centred = self._emit(relax.op.astype(values, dtype))
        if zero_point:
            centred = self._emit(relax.op.subtract(centred, relax.const(zero_point, dtype)))

        def sums_with(integers: Array) -> relax.Expr:
            constant = relax.const(np.ascontiguousarray(integers.astype(dtype)))
            return self._emit(_summed(call, centred, constant, total))

        if split.excess is None:
            sums = sums_with(split.integers)
        else:
            # What all weights of a column have in common multiplies the sum of the values.
            ones = np.ones_like(np.take(array, [0], axis=column_axis))
            excess = relax.const(split.excess.astype(np.int32).reshape(columns))
            totals = sums_with(ones)
            sums = sums_with(split.integers)
            sums = self._emit(relax.op.add(sums, self._emit(relax.op.multiply(totals, excess))))
        if total != "float32":
            sums = self._emit(relax.op.astype(sums, "float32"))
        return relax.op.multiply(sums, factor)

    def _unsigned(self, values: relax.Expr) -> relax.Expr:
        wide = self._emit(relax.op.astype(values, "int16"))
        return self._emit(
            relax.op.astype(self._emit(relax.op.add(wide, relax.const(128, "int16"))), "uint8")
        )

    def _dequantize(self, call: relax.Call) -> relax.Expr:
        operand = self._operand(call)
        if operand is None:
            return self.visit_expr_post_order(call)
        rank = len(call.ty.shape)
        scale, zero_point = (
            _along(array, operand.axis, rank) for array in (operand.scale, operand.zero_point)
        )
        if isinstance(operand.values, np.ndarray):
            centred = operand.values.astype(np.float32) - zero_point.astype(np.float32)
            return _constant(centred * scale)
        value = self._emit(relax.op.astype(self.visit_expr(operand.values), "float32"))
        if np.any(zero_point):
            value = self._emit(relax.op.subtract(value, _constant(zero_point)))
        return relax.op.multiply(value, _constant(scale))

    def _quantize(self, call: relax.Call) -> relax.Expr:
        value, scale, zero_point = call.args
        if not all(isinstance(given, tvm.ir.GenericConst) for given in (scale, zero_point)):
            return self.visit_expr_post_order(call)
        rank, axis = len(call.ty.shape), int(call.attrs.axis)
        dtype = str(call.ty.dtype)
        reciprocal = np.float32(1) / scale.value.numpy().astype(np.float32)
        zeros = zero_point.value.numpy()
        limits = np.iinfo(dtype)
        result = self.visit_expr(value)
        result = self._emit(relax.op.multiply(result, _constant(_along(reciprocal, axis, rank))))
        result = self._emit(relax.op.round(result))
        if np.any(zeros):
            result = self._emit(relax.op.add(result, _constant(_along(zeros, axis, rank))))
        result = self._emit(relax.op.maximum(result, _constant(np.float32(limits.min))))
        result = self._emit(relax.op.minimum(result, _constant(np.float32(limits.max))))
        return relax.op.astype(result, dtype)

    def _emit(self, expression: relax.Expr) -> relax.Expr:
        return self.builder_.emit(expression)

    def collect(self, function: relax.Function) -> None:
        """Takes down what each variable of a function is bound to."""
        self._definitions: dict[relax.Var, relax.Expr] = {}
        for block in function.body.blocks:
            for binding in block.bindings:
                if isinstance(binding, relax.VarBinding):
                    self._definitions[binding.var] = binding.value


def _summed(call: relax.Call, centred: relax.Expr, integers: relax.Expr, dtype: str) -> relax.Call:
    """The product that a call makes of its operands, of other ones, in another type."""
    if getattr(call.op, "name", "") == "relax.matmul":
        return relax.op.matmul(centred, integers, out_dtype=dtype)
    attrs = call.attrs
    return _CONVOLUTIONS[call.op.name](
        centred, integers, strides=attrs.strides, padding=attrs.padding,
        dilation=attrs.dilation, groups=attrs.groups, data_layout=attrs.data_layout,
        kernel_layout=attrs.kernel_layout, out_dtype=dtype,
    )  # fmt: skip


def _is_summed_in_floats(call: relax.Call, weights: Weights) -> bool:
    """Whether a convolution is left to kernels of float32, in which its sums are exact as well.

    So are those of a filter per channel, and of groups of so few output channels that they do not
    fill the vectors of kernels of bytes.
    """
    groups, integers = int(call.attrs.groups), weights.integers.astype(np.int64)
    if groups == 1 or integers.shape[1] == 1:
        return groups > 1
    if weights.excess is not None:
        integers = integers + weights.excess
    few = integers.shape[0] // groups < _FEWEST_FILTERS
    largest = int(np.abs(integers).reshape(len(integers), -1).sum(1).max())
    return few and largest * _LARGEST_DISTANCE <= _EXACT_IN_FLOATS


def _along(array: Array, axis: int, rank: int) -> Array:
    """Shapes one value per index of an axis, or a single one, for broadcasting.

    Single values are tensors too: a scalar would become part of the code, and kernels that differ
    in nothing else would be compiled once per layer.
    """
    shape = [1] * rank
    if array.size > 1:
        shape[axis] = -1
    return array.reshape(shape).astype(np.float32)


def _constant(array: Array | np.float32) -> relax.Expr:
    return relax.const(np.asarray(array, np.float32))


def integer_arithmetic(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module without ``quantize`` and ``dequantize``, its products of integers."""
    mutator = _IntegerArithmetic(module)
    function = module["main"]
    mutator.collect(function)
    rewritten = mutator.visit_expr(function)
    module = mutator.builder_.get()
    module["main"] = rewritten
    return relax.transform.DeadCodeElimination(["main"])(module)


@relax.expr_functor.mutator
class _Materializer(relax.PyExprMutator):  # type: ignore[misc]
    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        value = self.visit_expr(binding.value)
        kept = _is_bytes(value.ty) or _is_bfloat(value.ty) or self._sums_rows(value)
        inner = isinstance(binding.var, relax.DataflowVar) and not kept
        dataflow = self.builder_.current_block_is_dataflow()
        emit = self.builder_.emit if inner or not dataflow else self.builder_.emit_output
        self.set_var_remap(binding.var, emit(value, binding.var.name))

    def _sums_rows(self, value: relax.Expr) -> bool:
        """Whether a value is a product with one column, whose sums belong to all of another's."""
        if not is_call(value, "relax.call_tir") or not isinstance(value.ty, relax.TensorType):
            return False
        if str(value.ty.dtype) != "int32":
            return False
        attributes = self.builder_.get()[value.args[0]].attrs
        last = list(value.ty.shape)[-1] if len(value.ty.shape) > 1 else None
        anchors = int(attributes.get(OP_PATTERN, -1)) == OUT_ELEMENTWISE_FUSABLE
        return anchors and isinstance(last, tirx.IntImm) and int(last) == 1


def _is_bytes(type_: Any) -> bool:
    return str(getattr(type_, "dtype", None)) in _BYTES


def _is_bfloat(type_: Any) -> bool:
    """Whether it is of bfloat16, which TVM's legalization loses within an expression."""
    return str(getattr(type_, "dtype", None)) == "bfloat16"


def materialize_quantized(module: tvm.IRModule) -> tvm.IRModule:
    """Makes every quantized tensor one that fusion keeps: what it stands for is never stored.

    Tensors of bfloat16 are kept too.

    Else FuseOps would append the dequantization of a residual to the kernel before it, which then
    wrote four times the bytes, or a product with all columns to the sums of a row.
    """
    mutator = _Materializer(module)
    module["main"] = mutator.visit_expr(module["main"])
    return module
