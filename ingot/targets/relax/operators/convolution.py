"""Convolutions, the ONNX operators ``Conv`` and ``ConvTranspose``, of one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, tirx, topi

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.operators.window import Size, Window, simplified, spatial_sizes

_AXES = {1: "W", 2: "HW", 3: "DHW"}
_CONVOLUTIONS = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}
_TRANSPOSED = {
    1: relax.op.nn.conv1d_transpose,
    2: relax.op.nn.conv2d_transpose,
    3: relax.op.nn.conv3d_transpose,
}


def conv(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Conv``.

    Args:
        builder: The block builder to emit to.
        inputs: Image [N, C, ...], weights [M, C / group, ...], and, if there, a bias [M].
        attributes: ``auto_pad``, ``dilations``, ``group``, ``pads`` and ``strides``; the kernel's
            shape is the weights'.

    Raises:
        UnsupportedOperatorError: A form that is not lowered: more than three spatial axes, or
            weights of unknown shape.
    """
    image, weights, bias = (*inputs, None)[:3]
    result = convolved(builder, image, weights, attributes)
    return _with_bias(builder, result, bias, int(image.ty.ndim) - 2)


def convolved(
    builder: relax.BlockBuilder,
    image: relax.Expr,
    weights: relax.Expr,
    attributes: dict[str, Any],
    *,
    dtype: str | None = None,
    padded: bool = False,
) -> relax.Expr:
    """A convolution without bias; see :func:`conv`.

    Args:
        builder: The block builder to emit to.
        image: [N, C, ...].
        weights: [M, C / group, ...].
        attributes: Those of ``Conv``.
        dtype: Type of the sums; by default that of the image.
        padded: Whether the image has its padding already, by :func:`pad_image`.

    Raises:
        UnsupportedOperatorError: As ``conv`` says.
    """
    sizes = spatial_sizes(image)
    window = Window.of(attributes, _kernel(weights, len(sizes)))
    padding = [(0, 0)] * len(sizes) if padded else window.padding(sizes, window.extents)
    if not _known(padding):
        image, padding = _padded(builder, image, padding), [(0, 0)] * len(sizes)
    space = _AXES[len(sizes)]
    return _CONVOLUTIONS[len(sizes)](
        image,
        weights,
        strides=list(window.strides),
        padding=[size for ends in zip(*padding, strict=True) for size in ends],
        dilation=list(window.dilations),
        groups=int(attributes.get("group", 1)),
        data_layout=f"NC{space}",
        kernel_layout=f"OI{space}",
        out_dtype=dtype,
    )


def pad_image(
    builder: relax.BlockBuilder, image: relax.Expr, weights: relax.Expr, attributes: dict[str, Any]
) -> relax.Expr:
    """An image with the zeros around it that a convolution pads; itself where there are none."""
    sizes = spatial_sizes(image)
    window = Window.of(attributes, _kernel(weights, len(sizes)))
    padding = window.padding(sizes, window.extents)
    nothing = all(isinstance(size, int) and size == 0 for ends in padding for size in ends)
    return image if nothing else _padded(builder, image, padding)


def conv_transpose(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``ConvTranspose``.

    Args:
        builder: The block builder to emit to.
        inputs: Image [N, C, ...], weights [C, M / group, ...], and, if there, a bias [M].
        attributes: ``auto_pad``, ``dilations``, ``group``, ``output_padding``, ``output_shape``,
            ``pads`` and ``strides``.

    Raises:
        UnsupportedOperatorError: A form that is not lowered: more than three spatial axes, weights
            of unknown shape, or a given size of the result where the image's is open.
    """
    image, weights, bias = (*inputs, None)[:3]
    sizes = spatial_sizes(image)
    window = Window.of(attributes, _kernel(weights, len(sizes)))
    space = _AXES[len(sizes)]
    before, after = zip(*_cut(window, sizes, attributes), strict=True)
    # Where the result is larger than what the image reaches, less than nothing is cut off.
    result = _TRANSPOSED[len(sizes)](
        image,
        weights,
        strides=list(window.strides),
        padding=[*before, *after],
        dilation=list(window.dilations),
        groups=int(attributes.get("group", 1)),
        data_layout=f"NC{space}",
        kernel_layout=f"IO{space}",
    )
    return _with_bias(builder, result, bias, len(sizes))


def _cut(
    window: Window, sizes: Sequence[Size], attributes: dict[str, Any]
) -> list[tuple[int, int]]:
    """What is cut off per axis from what the image reaches: before, and behind.

    ONNX derives it from the size of the result where that is given, or where padding is ``SAME``
    (a result of as many times the image's size as the stride); the odd one goes behind with
    ``SAME_UPPER``, else before.
    """
    rank = len(sizes)
    further = [int(size) for size in attributes.get("output_padding", [0] * rank)]
    wanted = attributes.get("output_shape")
    cut = []
    for axis, (size, extent, stride) in enumerate(
        zip(sizes, window.extents, window.strides, strict=True)
    ):
        reached: Size = size * stride - stride + extent
        if wanted is not None:
            # Models hold it with and without batch and channels.
            result: Size = int(wanted[axis - rank])
        elif window.same:
            result = size * stride
        else:
            first, last = window.pads[axis]
            cut.append((first, last - further[axis]))
            continue
        total = simplified(reached + further[axis] - result)
        if not isinstance(total, int):
            raise UnsupportedOperatorError("output_shape with an image of open size is not lowered")
        total = max(0, total)
        first = total // 2 if window.auto_pad == "SAME_UPPER" else total - total // 2
        behind = simplified(reached - result - first)
        if wanted is None:
            behind = total - first - further[axis]
        assert isinstance(behind, int)
        cut.append((first, behind))
    return cut


def _kernel(weights: relax.Expr, rank: int) -> list[int]:
    if rank not in _AXES:
        raise UnsupportedOperatorError(f"a convolution over {rank} axes is not lowered")
    shape = weights.ty.shape
    if shape is None or len(shape) != rank + 2:
        raise UnsupportedOperatorError(f"weights are not for an image of {rank} spatial axes")
    if not all(isinstance(size, tirx.IntImm) for size in shape):
        raise UnsupportedOperatorError("weights of open size are not lowered")
    return [int(size) for size in list(shape)[2:]]


def _known(padding: Sequence[tuple[Size, Size]]) -> bool:
    return all(isinstance(size, int) for ends in padding for size in ends)


def _padded(
    builder: relax.BlockBuilder, image: relax.Expr, padding: Sequence[tuple[Size, Size]]
) -> relax.Expr:
    before, after = ([0, 0, *sizes] for sizes in zip(*padding, strict=True))
    # By itself: TVM's fusion does not recognize sizes of such form as the same.
    return builder.emit_te(
        lambda data: topi.nn.pad(data, before, after, tirx.const(0, data.dtype)),
        image,
        primfunc_name_hint="pad",
        primfunc_attrs={"op_pattern": 8},
    )


def _with_bias(
    builder: relax.BlockBuilder, result: relax.Expr, bias: relax.Expr | None, rank: int
) -> relax.Expr:
    if bias is None:
        return result
    shaped = builder.emit(relax.op.reshape(bias, [1, -1, *[1] * rank]))
    return relax.op.add(builder.emit(result), shaped)
