"""The layout that activations have between layers: channels last.

With channels last a pixel's channels are one contiguous vector: a 1x1 convolution is a matmul as it
stands, a depthwise one works on whole vectors of channels whatever the image's size, and neither
needs its input rearranged. TVM's pass carries the layout through element-wise operators, pooling,
reductions and concatenations; transposes are left at the network's borders.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import tvm
from tvm import relax

from ingot.targets.cpu.broadcasting import align_operands
from ingot.targets.cpu.image_rank import OPERATORS, images_of_two_axes
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.transposed_convolution import rewrite_transposed
from ingot.targets.cpu.transposes import move_transposes
from ingot.targets.relax.constants import fold_constants

_LAYOUTS = {
    f"relax.nn.conv{rank}d{kind}": [f"N{space}C", f"{space}IO"]
    for rank, space in ((1, "W"), (2, "HW"), (3, "DHW"))
    for kind in ("", "_transpose")
}

_CONVOLUTIONS = {
    f"relax.nn.conv{rank}d": getattr(relax.op.nn, f"conv{rank}d") for rank in (1, 2, 3)
}


# Those over two axes have kernels, or loops, in any layout.
_POOLS = {
    f"relax.nn.{kind}_pool{len(space)}d": (getattr(relax.op.nn, f"{kind}_pool{len(space)}d"), space)
    for kind in ("max", "avg")
    for space in ("W", "DHW")
}


def channels_last(module: tvm.IRModule, cpu: CpuDescription) -> tvm.IRModule:
    """Returns the module with convolutions of any rank, and what lies between, channels last."""
    if not _has_call(module, _LAYOUTS):
        # TVM's pass would stop at tensors of unknown rank for nothing.
        return module
    module = align_operands(module)
    module = relax.transform.ConvertLayout(_LAYOUTS)(module)
    converter = _Converter(module)
    function = converter.visit_expr(module["main"])
    module = converter.builder_.get()
    module["main"] = function
    module = fold_constants(relax.transform.CanonicalizeBindings()(module))
    module = rewrite_transposed(module, cpu)
    if _has_call(module, OPERATORS):
        module = images_of_two_axes(module)
    return move_transposes(relax.transform.CanonicalizeBindings()(module))


@relax.expr_functor.mutator
class _Converter(relax.PyExprMutator):  # type: ignore[misc]
    """Brings to channels last what TVM's pass leaves, which does not look into branches."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        if name in _POOLS:
            return self._pooling(call, *_POOLS[name])
        function = _CONVOLUTIONS.get(name)
        if function is None or not call.attrs.data_layout.startswith("NC"):
            return call
        return self._convolution(call, function)

    def _pooling(self, call: relax.Call, pool: Any, space: str) -> relax.Expr:
        """A pooling that stands before all convolutions, or over axes that TVM's pass moved."""
        attrs, wanted = call.attrs, f"N{space}C"
        if attrs.layout == wanted:
            return call
        image = relax.op.permute_dims(call.args[0], [attrs.layout.index(axis) for axis in wanted])
        last = pool(
            self.builder_.emit(image),
            list(attrs.pool_size),
            list(attrs.strides),
            list(attrs.padding),
            list(attrs.dilation),
            attrs.ceil_mode,
            attrs.count_include_pad,
            layout=wanted,
        )
        back = [wanted.index(axis) for axis in attrs.layout]
        return relax.op.permute_dims(self.builder_.emit(last), back)

    def _convolution(self, call: relax.Call, function: Any) -> relax.Expr:
        attrs, space = call.attrs, call.attrs.data_layout[2:]
        axes = list(range(2, 2 + len(space)))
        image, weights = (
            self.builder_.emit(relax.op.permute_dims(operand, order))
            for operand, order in zip(call.args, ([0, *axes, 1], [*axes, 1, 0]), strict=True)
        )
        last = function(
            image,
            weights,
            strides=list(attrs.strides),
            padding=list(attrs.padding),
            dilation=list(attrs.dilation),
            groups=attrs.groups,
            data_layout=f"N{space}C",
            kernel_layout=f"{space}IO",
            out_dtype=attrs.out_dtype,
        )
        back = [0, len(space) + 1, *range(1, len(space) + 1)]
        return relax.op.permute_dims(self.builder_.emit(last), back)


def _has_call(module: tvm.IRModule, operators: Container[str]) -> bool:
    names = []

    def visit(expression: relax.Expr) -> None:
        if isinstance(expression, relax.Call):
            names.append(getattr(expression.op, "name", ""))

    relax.analysis.post_order_visit(module["main"], visit)
    return any(name in operators for name in names)
