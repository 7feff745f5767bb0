"""Pooling that becomes kernels of Ingot's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import (
    MaxPoolingAnchor,
    SumPoolingAnchor,
    WindowAnchor,
    anchor_attributes,
)
from ingot.targets.cpu.kernels.tiling.axes import Window
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import (
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
)
from ingot.targets.cpu.selection.dimensions import shape_of
from ingot.targets.cpu.selection.window import read_under, taps_of, window_of
from ingot.targets.cpu.selection.words.sources import centred_element, dequantized_source


def select_max_pooling(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of a maximum over windows in NHWC."""
    if not _is_supported(call):
        return None
    return _pool(selection, call, MaxPoolingAnchor, -math.inf, te.max)


def select_average_pooling(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of an average over windows in NHWC: their sum, divided by their counts.

    At the image's edge a window's count depends on where it stands; what it is there, by ONNX's
    rules for padding and for windows that stand out, is computed here.
    """
    if not _is_supported(call):
        return None
    total = selection.builder.emit(_pool(selection, call, SumPoolingAnchor, 0.0, te.sum))
    height, width = (_counts(call, axis) for axis in range(2))
    counts = (height[:, None] * width[None, :])[None, :, :, None]
    divisor = counts if np.ptp(counts) else counts.reshape(-1)[0]
    return relax.op.divide(total, relax.const(np.ascontiguousarray(divisor), "float32"))


def _is_supported(call: relax.Call) -> bool:
    attrs, image, result = call.attrs, shape_of(call.args[0]), shape_of(call)
    if image is None or result is None or str(call.args[0].ty.dtype) != "float32":
        return False
    known = all(isinstance(size, int) for size in (*image[1:], *result[1:]))
    return known and (attrs.layout, attrs.out_layout) == ("NHWC", "NHWC")


def _pool(
    selection: Selection, call: relax.Call, anchor: type[WindowAnchor], outside: float, reduce: Any
) -> relax.Expr:
    window = _window(call)
    shape = [index(int(size)) for size in list(call.ty.shape)[1:]]
    source = dequantized_source(selection, call.args[0])
    centre = [] if source is None else source.centre

    def pool(image: te.Tensor, *centre: te.Tensor) -> te.Tensor:
        taps, element = taps_of(window), centred_element(centre)

        def value(n: Any, y: Any, x: Any, c: Any) -> Any:
            outer = outside if str(image.dtype) == "float32" else 0
            read = read_under(window, image, (n, y, x, c), taps, outer)
            return reduce(element(read), axis=taps)

        attrs = anchor_attributes(anchor(window))
        return te.compute((image.shape[0], *shape), value, name="pool", attrs=attrs)

    pooled = selection.builder.call_te(
        pool,
        call.args[0] if source is None else source.values,
        *centre,
        primfunc_name_hint=anchor.family,
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )
    if source is None or source.scale == 1:
        return pooled
    # Of the integers themselves, and their scale behind it: the maximum and the sum allow that.
    return relax.op.multiply(selection.builder.emit(pooled), relax.const(source.scale, "float32"))


def _window(call: relax.Call) -> Window:
    kernel_height, kernel_width = (int(size) for size in call.attrs.pool_size)
    return window_of(call, (kernel_height, kernel_width))


def _counts(call: relax.Call, axis: int) -> npt.NDArray[np.float32]:
    """Elements that an average counts along an axis, per output.

    Padding counts or not, as asked; what lies beyond it (with ``ceil_mode``) never counts.
    """
    window = _window(call)
    size, outputs = (int(of.ty.shape[axis + 1]) for of in (call.args[0], call))
    before, after = (int(call.attrs.padding[axis + 2 * end]) for end in range(2))
    low, high = (-before, size + after) if call.attrs.count_include_pad else (0, size)
    first = np.arange(outputs)[:, None] * window.strides[axis] - window.padding[axis]
    taps = first + np.arange(window.kernel[axis])[None, :] * window.dilation[axis]
    counts: npt.NDArray[np.int64] = ((taps >= low) & (taps < high)).sum(axis=1)
    return np.maximum(counts, 1).astype(np.float32)
