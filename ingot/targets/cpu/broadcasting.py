"""Element-wise operators as TVM's layout pass can follow them.

The pass carries a layout through an element-wise operator of two operands where they have the same
rank or one is a scalar, and takes the layout of the first. Models hold other forms of the same: a
bias of shape [C, 1, 1], a scalar of shape [1], a constant on the left. At each of them the image
would be transposed, and what follows would no longer be fused behind the convolution.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from tvm import ir, relax

# Axes of an image, of one to three spatial ones.
_RANKS = (3, 4, 5)
_COMMUTATIVE = frozenset({"relax.add", "relax.multiply", "relax.maximum", "relax.minimum"})
BINARY = _COMMUTATIVE | {"relax.subtract", "relax.divide", "relax.power"}
"""Element-wise operators of two operands."""
UNARY = frozenset(
    f"relax.{name}"
    for name in (
        "abs", "astype", "ceil", "clip", "erf", "exp", "floor", "log", "negative", "nn.gelu",
        "nn.gelu_tanh", "nn.leakyrelu", "nn.relu", "nn.selu", "nn.silu", "nn.softplus", "round",
        "rsqrt", "sigmoid", "sqrt", "square", "tanh",
    )
)  # fmt: skip
"""Element-wise operators of one operand."""
_PRELU = "relax.nn.prelu"

# Operators of one operand for which TVM does not say that any layout suits them.
for _operator in ("relax.clip", "relax.nn.leakyrelu", "relax.nn.softplus"):
    if ir.Op.get(_operator).get_attr("FRelaxInferLayout") is None:
        _any_layout = ir.Op.get("relax.nn.relu").get_attr("FRelaxInferLayout")
        ir.register_op_attr(_operator, "FRelaxInferLayout", _any_layout)


@relax.expr_functor.mutator
class _Aligner(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        rank = _rank(call)
        if name not in BINARY | {_PRELU} or rank not in _RANKS:
            return call
        if name == _PRELU:
            return _prelu(call)
        operands = [
            self._aligned(one, other, rank) for one, other in (call.args, reversed(call.args))
        ]
        if _is_image(call.args[1], rank) and not _is_image(call.args[0], rank):
            operands = (
                operands[::-1] if name in _COMMUTATIVE else [_scalar(operands[0]), operands[1]]
            )
        same = all(new.same_as(old) for new, old in zip(operands, call.args, strict=True))
        return call if same else relax.Call(call.op, operands, call.attrs)

    def _aligned(self, operand: relax.Expr, other: relax.Expr, axes: int) -> relax.Expr:
        """Returns an operand as a scalar or with as many axes as an image."""
        rank = _rank(operand)
        if not rank:
            return operand
        missing = axes - rank
        if isinstance(operand, tvm.ir.GenericConst):
            array = operand.value.numpy()
            if missing and array.size == 1 and _rank(other) == axes:
                return _constant(array.reshape(()))
            return _constant(array.reshape(*[1] * missing, *array.shape)) if missing else operand
        if missing:
            return self.builder_.emit(relax.op.expand_dims(operand, list(range(missing))))
        return operand


def _scalar(operand: relax.Expr) -> relax.Expr:
    """Returns a constant of one element without axes: the layout is then the other operand's."""
    if isinstance(operand, tvm.ir.GenericConst) and operand.value.numpy().size == 1:
        return _constant(operand.value.numpy().reshape(()))
    return operand


def _rank(expression: relax.Expr) -> int | None:
    type_ = expression.ty
    return int(type_.ndim) if isinstance(type_, relax.TensorType) and type_.ndim >= 0 else None


def _is_image(expression: relax.Expr, axes: int) -> bool:
    return _rank(expression) == axes and not isinstance(expression, tvm.ir.GenericConst)


def _constant(array: np.ndarray[Any, np.dtype[Any]]) -> relax.Expr:
    return relax.const(array, str(array.dtype))


def _prelu(call: relax.Call) -> relax.Expr:
    """A slope that is the same for all channels is an attribute."""
    image, slope = call.args
    if isinstance(slope, tvm.ir.GenericConst) and slope.value.numpy().size == 1:
        return relax.op.nn.leakyrelu(image, float(slope.value.numpy().reshape(())))
    return call


def align_operands(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module with operands of element-wise operators on images as images or scalars."""
    module["main"] = _Aligner(module).visit_expr(module["main"])
    return relax.transform.CanonicalizeBindings()(module)
