"""Transposed convolutions as ordinary ones, channels last.

A transposed convolution of stride s writes s phases along an axis: outputs whose positions leave
the same remainder by s. Within a phase neighbouring outputs read neighbouring inputs, by every s-th
tap of the kernel: an ordinary convolution of stride 1, for which there are kernels. Neighbouring
phases that have equally many taps are one convolution, each phase a block of its channels, and are
interleaved afterwards: for a kernel as large as the stride that is a matmul and a pixel shuffle.
Nothing is multiplied by an inserted zero. Shi et al., "Is the deconvolution layer the same as a
convolutional layer?" (2016).

Floor: the multiply-adds of the transposed convolution itself. The interleaving reads and writes the
result once more, except along the innermost axis, where phases lie in order already.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

from ingot.targets.cpu.broadcasting import BINARY, UNARY
from ingot.targets.cpu.kernels.convolution.interleaving import (
    InterleavedAxis,
    Interleaving,
    interleave,
)
from ingot.targets.cpu.kernels.writing.dimension import Dim, simplified
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.selection.base import OP_PATTERN, OPAQUE
from ingot.targets.cpu.selection.dimensions import Dimensions, shape_expr
from ingot.targets.cpu.transposed_phases import Phases, TransposedAxis, number

# Transposed convolutions by name: the ordinary one, and its layouts.
_OPERATORS: dict[str, tuple[Callable[..., relax.Expr], str, str]] = {
    "relax.nn.conv1d_transpose": (relax.op.nn.conv1d, "NWC", "WIO"),
    "relax.nn.conv2d_transpose": (relax.op.nn.conv2d, "NHWC", "HWIO"),
    "relax.nn.conv3d_transpose": (relax.op.nn.conv3d, "NDHWC", "DHWIO"),
}
# Of one filter per channel each phase is a convolution of its own, up to so many: for these there
# are kernels, for several filters per channel there are none.
_MOST_DEPTHWISE_PHASES = 16


@dataclasses.dataclass(frozen=True)
class _Phased:
    """A result before its phases are interleaved.

    Attributes:
        blocks: Its phases [N, outputs per axis, groups * phases * filters], some in each.
        problem: How they are interleaved.
    """

    blocks: tuple[relax.Expr, ...]
    problem: Interleaving

    def columns(self, array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Returns for each block what one value per channel of the result is of its channels."""
        groups, filters = self.problem.groups, self.problem.filters
        by_group = array.reshape(groups, 1, filters)
        counts = itertools.product(*(axis.counts for axis in self.problem.axes))
        return [
            np.broadcast_to(by_group, (groups, math.prod(count), filters)).reshape(-1)
            for count in counts
        ]


@relax.expr_functor.mutator
class _Rewriter(relax.PyExprMutator):  # type: ignore[misc]
    """Rewrites transposed convolutions and the element-wise operators behind them.

    These are applied to the phases, where they become part of the convolutions' kernels; what is
    interleaved for nothing is dead code.
    """

    def __init__(self, module: tvm.IRModule, cpu: CpuDescription) -> None:
        super().__init__(module)
        self._cpu = cpu
        self._phased: dict[relax.Var, _Phased] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        phased = None
        if isinstance(binding.value, relax.Call):
            call = self.visit_expr_post_order(binding.value)
            operator = _OPERATORS.get(getattr(call.op, "name", ""))
            if operator is not None:
                phased = _Writer(self.builder_, call, *operator).write()
            else:
                phased = self._element_wise(call)
        if phased is None:
            super().visit_var_binding_(binding)
            return
        value = self._interleaved(phased)
        emit = self.builder_.emit
        if self.builder_.current_block_is_dataflow() and not isinstance(
            binding.var, relax.DataflowVar
        ):
            emit = self.builder_.emit_output
        variable = emit(value, binding.var.name)
        self.set_var_remap(binding.var, variable)
        self._phased[variable] = phased

    def _element_wise(self, call: relax.Call) -> _Phased | None:
        """Applies an operator to the phases; None where it does not go element by element."""
        name = getattr(call.op, "name", "")
        if name not in UNARY | BINARY:
            return None
        phased = [self._phased.get(argument) for argument in call.args]
        known = [each for each in phased if each is not None]
        if len(known) != 1:
            return None
        operands: list[list[relax.Expr]] = []
        for argument, own in zip(call.args, phased, strict=True):
            blocks = list(own.blocks) if own is not None else _by_block(argument, known[0])
            if blocks is None:
                return None
            operands.append(blocks)
        results = [
            self.builder_.emit(relax.Call(call.op, list(block), call.attrs))
            for block in zip(*operands, strict=True)
        ]
        return dataclasses.replace(known[0], blocks=tuple(results))

    def _interleaved(self, phased: _Phased) -> relax.Expr:
        """The result in order."""
        problem, (first, *others) = phased.problem, phased.blocks
        *outer, inner = problem.axes
        shape = [problem.batch, *(axis.result for axis in problem.axes)]
        shape.append(problem.groups * problem.filters)
        single = not others and all(axis.stride == 1 for axis in outer)
        if single and inner.stride == 1:
            return first
        if single and problem.groups == 1:
            # The phases lie in order already.
            whole = [*shape[:-2], simplified(inner.source * inner.stride), shape[-1]]
            view = self.builder_.emit(relax.op.reshape(first, shape_expr(whole)))
            if whole == shape:
                return view
            end = simplified(inner.skip + inner.result)
            return relax.op.strided_slice(
                view, [len(outer) + 1], [inner.skip], [end], assume_inbound=True
            )
        dimensions = Dimensions()
        own = dataclasses.replace(
            problem,
            batch=dimensions.of(problem.batch),
            axes=tuple(
                dataclasses.replace(
                    axis, source=dimensions.of(axis.source), result=dimensions.of(axis.result)
                )
                for axis in problem.axes
            ),
        )
        function = interleave(own, self._cpu).with_attr(OP_PATTERN, OPAQUE)
        variable = self.builder_.add_func(function, "interleave")
        result = relax.TensorType(shape_expr(shape), problem.dtype)
        return relax.call_tir(variable, list(phased.blocks), result)


def _by_block(operand: relax.Expr, phased: _Phased) -> list[relax.Expr] | None:
    """An element-wise operator's other operand for each block: a value per channel, or for all."""
    count = len(phased.blocks)
    if not isinstance(operand, tvm.ir.GenericConst):
        return None
    array = operand.value.numpy()
    if array.size == 1:
        return [operand] * count
    if array.size != array.shape[-1]:
        return None
    shape = (*[1] * (array.ndim - 1), -1)
    return [relax.const(columns.reshape(shape)) for columns in phased.columns(array)]


class _Writer:
    """Writes one transposed convolution."""

    def __init__(
        self,
        builder: relax.BlockBuilder,
        call: relax.Call,
        convolution: Callable[..., relax.Expr],
        layout: str,
        kernel_layout: str,
    ) -> None:
        attrs = call.attrs
        assert (attrs.data_layout, attrs.kernel_layout) == (layout, kernel_layout)
        self._builder, self._call = builder, call
        self._convolution, self._layout, self._kernel_layout = convolution, layout, kernel_layout
        self._image, self._weights = call.args
        *kernel, channels, filters = (int(size) for size in self._weights.ty.shape)
        self._groups = int(attrs.groups)
        self._channels, self._filters = channels // self._groups, filters
        self._batch, *sizes, _ = self._image.ty.shape
        results = list(call.ty.shape)[1:-1]
        self._axes = [
            TransposedAxis(taps, stride, dilation, padding, simplified(size), simplified(result))
            for taps, stride, dilation, padding, size, result in zip(
                kernel,
                map(int, attrs.strides),
                map(int, attrs.dilation),
                list(map(int, attrs.padding))[: len(kernel)],
                sizes,
                results,
                strict=True,
            )
        ]

    def write(self) -> _Phased:
        depthwise = (self._channels, self._filters) == (1, 1) and self._groups > 1
        phases = math.prod(axis.stride for axis in self._axes)
        joined = not depthwise or phases > _MOST_DEPTHWISE_PHASES
        by_axis = [axis.phases(joined=joined) for axis in self._axes]
        axes = tuple(
            InterleavedAxis(
                axis.stride,
                axis.padding - axis.first * axis.stride,
                axis.count,
                axis.result,
                tuple(phase.count for phase in phases_of_axis),
            )
            for axis, phases_of_axis in zip(self._axes, by_axis, strict=True)
        )
        dtype = str(self._call.ty.dtype)
        batch = simplified(self._batch)
        problem = Interleaving(batch, axes, self._groups, self._filters, dtype)
        return _Phased(tuple(map(self._block, itertools.product(*by_axis))), problem)

    def _block(self, phases: Sequence[Phases]) -> relax.Expr:
        """Computes some phases: [N, outputs per axis, groups * phases * filters]."""
        if not all(phase.taps for phase in phases):
            columns = self._groups * math.prod(phase.count for phase in phases) * self._filters
            shape = [self._batch, *(axis.count for axis in self._axes), columns]
            return self._emit(relax.op.zeros(shape_expr(shape), str(self._call.ty.dtype)))
        before = [phase.before for phase in phases]
        after = [
            number(simplified(axis.count - axis.size)) - phase.before + phase.reach
            for axis, phase in zip(self._axes, phases, strict=True)
        ]
        convolved = self._convolution(
            self._without_ends(before, after),
            self._kernel(phases),
            strides=[1] * len(phases),
            padding=[max(0, size) for size in (*before, *after)],
            dilation=[phase.dilation for phase in phases],
            groups=self._groups,
            data_layout=self._layout,
            kernel_layout=self._kernel_layout,
            out_dtype=self._call.attrs.out_dtype,
        )
        return self._emit(convolved)

    def _without_ends(self, before: Sequence[int], after: Sequence[int]) -> relax.Expr:
        """The image without inputs that the phases do not read."""
        cut = [
            (at + 1, max(0, -first), axis.size + min(0, last))
            for at, (axis, first, last) in enumerate(zip(self._axes, before, after, strict=True))
            if min(first, last) < 0
        ]
        if not cut:
            return self._image
        axes, begin, end = (list(values) for values in zip(*cut, strict=True))
        return self._emit(
            relax.op.strided_slice(self._image, axes, begin, end, assume_inbound=True)
        )

    def _kernel(self, phases: Sequence[Phases]) -> relax.Expr:
        """The weights of some phases: [taps per axis, channels, groups * phases * filters]."""
        weights = self._weights
        rank = len(phases)
        for at, phase in enumerate(phases):
            taps = np.array(phase.taps, np.int64).reshape(-1)
            if taps.tolist() != list(range(self._axes[at].kernel)):
                weights = self._taken(weights, taps, at)
        sizes = [size for phase in phases for size in (len(phase.taps), phase.count)]
        weights = self._reshaped(weights, [*sizes, self._groups, self._channels, self._filters])
        axes = [
            *range(0, 2 * rank, 2), 2 * rank + 1, 2 * rank, *range(1, 2 * rank, 2), 2 * rank + 2,
        ]  # fmt: skip
        weights = self._permuted(weights, axes)
        columns = self._groups * math.prod(sizes[1::2]) * self._filters
        return self._reshaped(weights, [*sizes[::2], self._channels, columns])

    # Constants are rearranged at once: the kernels pack them.

    def _taken(self, tensor: relax.Expr, indices: Any, axis: int) -> relax.Expr:
        if isinstance(tensor, tvm.ir.GenericConst):
            return relax.const(np.take(tensor.value.numpy(), indices, axis))
        return self._emit(relax.op.take(tensor, relax.const(indices), axis))

    def _reshaped(self, tensor: relax.Expr, shape: Sequence[Dim]) -> relax.Expr:
        if isinstance(tensor, tvm.ir.GenericConst):
            return relax.const(tensor.value.numpy().reshape([int(size) for size in shape]))
        return self._emit(relax.op.reshape(tensor, shape_expr(shape)))

    def _permuted(self, tensor: relax.Expr, axes: Sequence[int]) -> relax.Expr:
        if isinstance(tensor, tvm.ir.GenericConst):
            return relax.const(np.ascontiguousarray(tensor.value.numpy().transpose(axes)))
        return self._emit(relax.op.permute_dims(tensor, list(axes)))

    def _emit(self, expression: relax.Expr) -> relax.Expr:
        return self._builder.emit(expression)


def rewrite_transposed(module: tvm.IRModule, cpu: CpuDescription) -> tvm.IRModule:
    """Returns the module with transposed convolutions, channels last, as ordinary ones."""
    rewriter = _Rewriter(module, cpu)
    function = rewriter.visit_expr(module["main"])
    module = rewriter.builder_.get()
    module["main"] = function
    return relax.transform.DeadCodeElimination(["main"])(module)
