"""Operators of object detectors."""

from __future__ import annotations

from typing import Any

from tvm import relax

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder


def non_max_suppression(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Refuses ``NonMaxSuppression``.

    TVM's own converter takes thresholds that are no constants for their defaults, and the kernel
    that it gives cannot be scheduled.

    Args:
        builder: The block builder.
        inputs: Boxes, scores, and the optional limits.
        attributes: ``center_point_box``.

    Raises:
        UnsupportedOperatorError: Always.
    """
    del builder, inputs, attributes
    raise UnsupportedOperatorError("how many boxes it selects is known only when it has run")


def max_roi_pool(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Refuses ``MaxRoiPool``: TVM's own reads images that there are not.

    Args:
        builder: The block builder.
        inputs: The images, and boxes that begin with an image's number.
        attributes: ``pooled_shape``, ``spatial_scale``.

    Raises:
        UnsupportedOperatorError: Always.
    """
    del builder, inputs, attributes
    raise UnsupportedOperatorError("boxes that hold the numbers of their images are not lowered")
