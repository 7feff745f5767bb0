"""Places in images under affine maps, the ONNX operator ``AffineGrid``."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, at_least, equal, shape_of
from ingot.targets.relax.operators.inputs import integers, tensor


def affine_grid(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``AffineGrid``.

    Args:
        builder: The builder to emit to.
        inputs: The maps, [N, 2, 3] or [N, 3, 4], and the images' size [N, C, (D,) H, W], known or
            given when the model runs.
        attributes: ``align_corners`` (0): whether -1 and 1 are the centres of the outermost pixels
            and not their edges.

    Returns:
        The grid [N, (D,) H, W, 2 or 3], the last coordinate being along D.

    Raises:
        UnsupportedOperatorError: The size is not of four or five dimensions.
    """
    maps = tensor(builder, inputs[0])
    sizes = integers(builder, inputs[1]).flat
    if len(sizes) not in (4, 5):
        raise UnsupportedOperatorError(f"grids of images of {len(sizes)} dimensions are unknown")
    batch = shape_of(maps)[0]
    builder.require(equal(sizes[0], batch), "the size and the maps differ in the batch")
    for size in sizes[1:]:
        if not at_least(size, 1):
            builder.require(as_expression(size) >= 1, "size {0} is not positive", size)
    pixels = [as_expression(builder.dimension(size)) for size in sizes[2:]]
    aligned = bool(attributes.get("align_corners", 0))
    dtype = str(maps.ty.dtype)

    def compute(given: te.Tensor, extents: list[tirx.Expr]) -> te.Tensor:
        def coordinate(at: tirx.Expr, extent: tirx.Expr) -> tirx.Expr:
            place, count = at.astype(dtype), extent.astype(dtype)
            one, two = tirx.FloatImm(dtype, 1.0), tirx.FloatImm(dtype, 2.0)
            if aligned:
                return place * two / tirx.max(count - one, one) - one
            return (place * two + one) / count - one

        def element(*place: tirx.Var) -> tirx.Expr:
            image, *at, row = place
            value = given(image, row, len(extents))
            # The first coordinate is along the last axis.
            for column, (own, extent) in enumerate(
                zip(reversed(at), reversed(extents), strict=True)
            ):
                value = value + given(image, row, column) * coordinate(own, extent)
            return value

        return te.compute([given.shape[0], *extents, len(extents)], element, "grid")

    return builder.emit_te(compute, maps, pixels, primfunc_name_hint="affine_grid")
