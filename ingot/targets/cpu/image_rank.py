"""Images of one and three spatial axes as images of two, for which there are kernels.

A signal is an image of height one. A volume is as many images as it has slices: its convolution is
one over the channels of all the slices under the kernel, which are copied next to each other, at
the cost of reading and writing the volume once per tap along the depth; pooling goes along height
and width first, and along the depth afterwards. The element-wise operators between stay with the
images, so that they become part of the kernels. What takes a signal or a volume as it is sees the
same memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax

from ingot.targets.cpu.broadcasting import BINARY, UNARY
from ingot.targets.cpu.kernels.writing.dimension import Dim, product, simplified
from ingot.targets.cpu.selection.base import is_call
from ingot.targets.cpu.selection.dimensions import same_dimension, shape_expr, shape_of

_SIGNAL, _VOLUME = 3, 5
_POOLS = {
    f"relax.nn.{kind}_pool{rank}d": getattr(relax.op.nn, f"{kind}_pool2d")
    for kind in ("max", "avg")
    for rank in (1, 3)
}
# The order of axes that brings a signal's channels before its samples.
_CHANNELS_FIRST = [0, 2, 1]

OPERATORS = frozenset({"relax.nn.conv1d", "relax.nn.conv3d", *_POOLS})
"""Operators on images of one or three axes, channels last."""


@relax.expr_functor.mutator
class _Rewriter(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self._images: dict[relax.Var, relax.Expr] = {}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        image = None
        if isinstance(binding.value, relax.Call):
            image = self._image_of(self.visit_expr_post_order(binding.value))
        if image is None:
            super().visit_var_binding_(binding)
            return
        image = self._emit(image)
        value = relax.op.reshape(image, binding.value.ty.shape)
        emit = self.builder_.emit
        if self.builder_.current_block_is_dataflow() and not isinstance(
            binding.var, relax.DataflowVar
        ):
            emit = self.builder_.emit_output
        variable = emit(value, binding.var.name)
        self.set_var_remap(binding.var, variable)
        self._images[variable] = image

    def _image_of(self, call: relax.Call) -> relax.Expr | None:
        """The result of a call as an image of two axes; None where it is not on images."""
        name = getattr(call.op, "name", "")
        if name == "relax.nn.conv1d":
            return self._signal_convolution(call)
        if name == "relax.nn.conv3d":
            return self._volume_convolution(call)
        if name in _POOLS:
            return self._pooling(call, _POOLS[name])
        return self._between(call) if name in UNARY | BINARY else None

    def _as_image(self, tensor: relax.Expr) -> relax.Expr:
        """A signal [N, W, C] as [N, 1, W, C], or a volume [N, D, H, W, C] as [N * D, H, W, C]."""
        if tensor in self._images:
            return self._images[tensor]
        shape = _shape(tensor)
        if len(shape) == _VOLUME:
            return self._reshape(tensor, [product(shape[:2]), *shape[2:]])
        producer: Any = self.lookup_binding(tensor) if isinstance(tensor, relax.Var) else None
        if is_call(producer, "relax.permute_dims") and producer.attrs.axes is not None:
            axes = [int(axis) for axis in producer.attrs.axes]
            if axes == _CHANNELS_FIRST:
                # A convolution of few channels reads its image channels first.
                first = self._emit(relax.op.expand_dims(producer.args[0], 2))
                return self._emit(relax.op.permute_dims(first, [0, 2, 3, 1]))
        return self._reshape(tensor, [shape[0], 1, *shape[1:]])

    def _signal_convolution(self, call: relax.Call) -> relax.Expr:
        attrs, (signal, weights) = call.attrs, call.args
        before, after = map(int, attrs.padding)
        return relax.op.nn.conv2d(
            self._as_image(signal),
            self._reshape(weights, [1, *_shape(weights)]),
            strides=[1, int(attrs.strides[0])],
            padding=[0, before, 0, after],
            dilation=[1, int(attrs.dilation[0])],
            groups=attrs.groups,
            data_layout="NHWC",
            kernel_layout="HWIO",
            out_dtype=attrs.out_dtype,
        )

    def _volume_convolution(self, call: relax.Call) -> relax.Expr:
        attrs, (volume, weights) = call.attrs, call.args
        taps, height, width, channels, filters = (int(size) for size in _shape(weights))
        groups, padding = int(attrs.groups), list(map(int, attrs.padding))
        convolve = functools.partial(
            relax.op.nn.conv2d,
            strides=list(attrs.strides)[1:],
            padding=[*padding[1:3], *padding[4:6]],
            dilation=list(attrs.dilation)[1:],
            groups=groups,
            data_layout="NHWC",
            kernel_layout="HWIO",
            out_dtype=attrs.out_dtype,
        )
        if taps == 1 and int(attrs.strides[0]) == 1 and not padding[0] + padding[3]:
            return convolve(self._as_image(volume), self._reshape(weights, _shape(weights)[1:]))
        slices = self._slices(call, taps)
        if channels == 1 and groups == filters > 1:
            # Sums of convolutions of a filter per channel, for which there are kernels.
            parts = [
                self._emit(convolve(self._merged(piece, [groups]), self._tap(weights, tap)))
                for tap, piece in enumerate(slices)
            ]
            return functools.reduce(
                lambda total, part: self._emit(relax.op.add(total, part)), parts
            )
        if groups > 1:
            by_group = [*_shape(slices[0])[:4], groups, channels]
            slices = [self._reshape(piece, by_group) for piece in slices]
        joined = self._emit(relax.op.concat(slices, -1)) if taps > 1 else slices[0]
        image = self._merged(joined, [groups * taps * channels])
        kernel = self._permute(weights, [1, 2, 0, 3, 4])
        return convolve(image, self._reshape(kernel, [height, width, taps * channels, filters]))

    def _slices(self, call: relax.Call, taps: int) -> list[relax.Expr]:
        """For each tap along the depth the slices of a volume that it meets."""
        attrs, volume = call.attrs, call.args[0]
        before, after = int(attrs.padding[0]), int(attrs.padding[3])
        stride, dilation = int(attrs.strides[0]), int(attrs.dilation[0])
        if before or after:
            widths = [0, 0, before, after, *[0] * 6]
            volume = self._emit(relax.op.nn.pad(volume, widths))
        last = (_shape(call)[1] - 1) * stride + 1
        return [
            self._emit(
                relax.op.strided_slice(
                    volume,
                    [1],
                    [tap * dilation],
                    [simplified(tap * dilation + last)],
                    [stride],
                    assume_inbound=True,
                )
            )
            for tap in range(taps)
        ]

    def _merged(self, volume: relax.Expr, channels: Sequence[int]) -> relax.Expr:
        """A volume [N, D, H, W, ...] as images [N * D, H, W, channels]."""
        shape = _shape(volume)
        return self._reshape(volume, [product(shape[:2]), *shape[2:4], *channels])

    def _tap(self, weights: relax.Expr, tap: int) -> relax.Expr:
        if isinstance(weights, tvm.ir.GenericConst):
            return relax.const(np.ascontiguousarray(weights.value.numpy()[tap]))
        taken = self._emit(relax.op.strided_slice(weights, [0], [tap], [tap + 1]))
        return self._reshape(taken, _shape(weights)[1:])

    def _pooling(self, call: relax.Call, pool: Any) -> relax.Expr:
        attrs = call.attrs
        sizes, strides, dilation = (
            [int(size) for size in of] for of in (attrs.pool_size, attrs.strides, attrs.dilation)
        )
        padding = [int(size) for size in attrs.padding]
        before, after = padding[: len(sizes)], padding[len(sizes) :]

        def along(image: relax.Expr, axes: Sequence[int | None]) -> relax.Expr:
            """Pools along some of the call's axes, height and width; None is left alone."""

            def of(values: Sequence[int], default: int) -> list[int]:
                return [default if axis is None else values[axis] for axis in axes]

            return pool(
                image,
                of(sizes, 1),
                of(strides, 1),
                [*of(before, 0), *of(after, 0)],
                of(dilation, 1),
                attrs.ceil_mode,
                attrs.count_include_pad,
                layout="NHWC",
            )

        image = self._as_image(call.args[0])
        if len(sizes) == 1:
            return along(image, [None, 0])
        pooled = self._emit(along(image, [1, 2]))
        batch, depth = _shape(call.args[0])[:2]
        height, width, channels = _shape(pooled)[1:]
        if sizes[0] == strides[0] == 1 and not before[0] + after[0]:
            return pooled
        upright = self._reshape(pooled, [batch, depth, product([height, width]), channels])
        done = self._emit(along(upright, [0, None]))
        return self._reshape(done, [product(_shape(done)[:2]), height, width, channels])

    def _between(self, call: relax.Call) -> relax.Expr | None:
        """An element-wise operator of which an operand is at hand as an image."""
        shape = _shape(call)
        if not any(argument in self._images for argument in call.args) or len(shape) not in (
            _SIGNAL,
            _VOLUME,
        ):
            return None
        operands = [self._operand(argument, shape) for argument in call.args]
        if any(operand is None for operand in operands):
            return None
        return relax.Call(call.op, operands, call.attrs)

    def _operand(self, tensor: relax.Expr, result: Sequence[Dim]) -> relax.Expr | None:
        """A tensor that broadcasts to a result, as one that broadcasts to the result's image."""
        shape = shape_of(tensor)
        if shape is None:
            return None
        if len(result) == _SIGNAL:
            if tensor in self._images:
                return self._images[tensor]
            # Up to one axis, that of the channels, there is nothing to insert an axis before.
            below = len(shape) < _SIGNAL - 1
            return tensor if below else self._reshape(tensor, [*shape[:-2], 1, *shape[-2:]])
        leading = shape[: max(0, len(shape) - (_VOLUME - 2))]
        if all(size == 1 for size in leading):
            return self._reshape(tensor, shape[len(leading) :]) if leading else tensor
        whole = len(leading) == 2 and all(map(same_dimension, leading, result[:2]))
        return self._as_image(tensor) if whole else None

    def _reshape(self, tensor: relax.Expr, shape: Sequence[Dim]) -> relax.Expr:
        if isinstance(tensor, tvm.ir.GenericConst):
            return relax.const(tensor.value.numpy().reshape([int(size) for size in shape]))
        return self._emit(relax.op.reshape(tensor, shape_expr(shape)))

    def _permute(self, tensor: relax.Expr, axes: Sequence[int]) -> relax.Expr:
        if isinstance(tensor, tvm.ir.GenericConst):
            return relax.const(np.ascontiguousarray(tensor.value.numpy().transpose(axes)))
        return self._emit(relax.op.permute_dims(tensor, list(axes)))

    def _emit(self, expression: relax.Expr) -> relax.Expr:
        return self.builder_.emit(expression)


def _shape(tensor: relax.Expr) -> list[Dim]:
    shape = shape_of(tensor)
    assert shape is not None
    return shape


def images_of_two_axes(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module with convolution and pooling over two axes, whatever they were over.

    Args:
        module: A module whose signals and volumes are channels last.
    """
    rewriter = _Rewriter(module)
    function = rewriter.visit_expr(module["main"])
    module = rewriter.builder_.get()
    module["main"] = function
    return relax.transform.DeadCodeElimination(["main"])(module)
