"""Images scaled by channel, as in squeeze-and-excitation."""

from __future__ import annotations

from tvm import relax

from ingot.targets.cpu.selection.base import Selection
from ingot.targets.cpu.selection.dimensions import shape_of


def gated_source(selection: Selection, image: relax.Expr) -> tuple[relax.Expr, relax.Expr] | None:
    """Returns what an image is the product of, if nothing else reads it.

    Args:
        selection: The surroundings.
        image: [N, H, W, C], float32.

    Returns:
        An image of the same shape, all of it known, and its channels' factors [N, 1, 1, C]. None
        too for an image of one pixel, whose factors may be a function of itself.
    """
    if not isinstance(image, relax.Var) or selection.uses(image) != 1:
        return None
    product = selection.producer(image)
    if not isinstance(product, relax.Call) or getattr(product.op, "name", "") != "relax.multiply":
        return None
    shape = shape_of(image)
    if shape is None or len(shape) != 4 or not all(isinstance(size, int) for size in shape):
        return None
    if shape[1:3] == [1, 1]:
        return None
    for source, gate in (product.args, reversed(product.args)):
        if shape_of(source) == shape and shape_of(gate) == [shape[0], 1, 1, shape[3]]:
            return source, gate
    return None
