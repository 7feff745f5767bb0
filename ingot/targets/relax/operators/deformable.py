"""Deformable convolution, the ONNX operator ``DeformConv``."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.operators.window import Window, spatial_sizes


def deform_conv(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``DeformConv``: taps are read where offsets move them, between pixels.

    What the taps read is stored, and multiplied by the weights as a matrix.

    Args:
        builder: The block builder to emit to.
        inputs: Image [N, C, H, W], weights [M, C / group, kH, kW], offsets [N, groups of offsets *
            kH * kW * 2, oH, oW], and, if there, a bias [M], and a mask of factors [N, groups of
            offsets * kH * kW, oH, oW].
        attributes: ``dilations``, ``group``, ``kernel_shape``, ``offset_group``, ``pads`` and
            ``strides``.

    Raises:
        UnsupportedOperatorError: Other than two spatial axes, weights or channels of open size, or
            values that are not float32.
    """
    image, weights, offsets, bias, mask = (*inputs, None, None)[:5]
    shape = weights.ty.shape
    if len(spatial_sizes(image)) != 2:
        raise UnsupportedOperatorError("a deformable convolution is lowered over two axes only")
    if not all(isinstance(size, tirx.IntImm) for size in (*shape, image.ty.shape[1])):
        raise UnsupportedOperatorError("weights or channels of open size are not lowered")
    if str(image.ty.dtype) != "float32":
        raise UnsupportedOperatorError(f"a deformable convolution of {image.ty.dtype}")
    filters, channels, *kernel = (int(size) for size in shape)
    groups, parts = int(attributes.get("group", 1)), int(attributes.get("offset_group", 1))
    window = Window.of(attributes, kernel)
    operands = [image, offsets] + [mask] * (mask is not None)
    patches = builder.emit(
        builder.call_te(_patches(window, parts), *operands, primfunc_name_hint="deformed_patches")
    )
    batch, height, width = list(patches.ty.shape)[:3]
    depth, per_group = channels * kernel[0] * kernel[1], filters // groups
    rows = builder.emit(relax.op.reshape(patches, [batch, height, width, groups * depth]))
    matrix = builder.emit(
        relax.op.permute_dims(builder.emit(relax.op.reshape(weights, [filters, depth])), [1, 0])
    )
    products = []
    for group in range(groups):
        left, right = rows, matrix
        if groups > 1:
            left = relax.op.strided_slice(rows, [3], [group * depth], [(group + 1) * depth])
            first = group * per_group
            right = relax.op.strided_slice(matrix, [1], [first], [first + per_group])
        product = relax.op.matmul(builder.normalize(left), builder.normalize(right))
        products.append(builder.emit(product))
    joined = products[0] if groups == 1 else builder.emit(relax.op.concat(products, axis=3))
    if bias is not None:
        joined = builder.emit(relax.op.add(joined, bias))
    return relax.op.permute_dims(joined, [0, 3, 1, 2])


def _patches(window: Window, parts: int) -> Any:
    """What the taps read, [N, oH, oW, C, kH, kW]."""
    taps = window.kernel[0] * window.kernel[1]

    def patches(image: te.Tensor, offsets: te.Tensor, *masks: te.Tensor) -> te.Tensor:
        batch, channels, height, width = image.shape
        per_part = int(channels) // parts

        def value(n: Any, y: Any, x: Any, c: Any, tap_y: Any, tap_x: Any) -> Any:
            tap = tap_y * window.kernel[1] + tap_x
            part = c // per_part if parts > 1 else 0
            places = []
            for axis, (output, at) in enumerate(((y, tap_y), (x, tap_x))):
                regular = output * window.strides[axis] + at * window.dilations[axis]
                regular = tirx.Cast("float32", regular - window.pads[axis][0])
                places.append(regular + offsets(n, (part * taps + tap) * 2 + axis, y, x))
            read = _between_pixels(image, n, c, places, (height, width))
            for mask in masks:
                read = read * mask(n, part * taps + tap, y, x)
            return read

        shape = (batch, *offsets.shape[2:], channels, *window.kernel)
        return te.compute(shape, value, name="patches")

    return patches


def _between_pixels(image: te.Tensor, n: Any, c: Any, places: list[Any], sizes: Any) -> Any:
    """The image between its four nearest pixels; outside of it are zeros."""
    lower = [tirx.floor(place) for place in places]
    fractions = [place - low for place, low in zip(places, lower, strict=True)]
    first = [tirx.Cast("int64", low) for low in lower]
    total: Any = tirx.const(0.0, "float32")
    for down in (0, 1):
        for right in (0, 1):
            at = [first[0] + down, first[1] + right]
            factors = [
                fraction if step else tirx.const(1.0, "float32") - fraction
                for fraction, step in zip(fractions, (down, right), strict=True)
            ]
            inside = tirx.all(
                *(
                    condition
                    for place, size in zip(at, sizes, strict=True)
                    for condition in (place >= 0, place < size)
                )
            )
            weighted = image(n, c, *at) * factors[0] * factors[1]
            total = total + tirx.if_then_else(inside, weighted, tirx.const(0.0, "float32"))
    return total
