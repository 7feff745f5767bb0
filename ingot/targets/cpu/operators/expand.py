"""Broadcasting to a shape, the ONNX operator ``Expand``."""

from __future__ import annotations

from typing import Any

from tvm import relax, tirx
from tvm.relax.frontend.onnx import onnx_frontend


def expand(builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]) -> Any:
    """Converts ``Expand``, whose shape may have fewer dimensions than the data.

    Args:
        builder: The block builder to emit to.
        inputs: The data, and the shape, which is aligned with the data's last dimensions.
        attributes: None are defined.
    """
    data, shape = inputs
    if isinstance(shape, relax.ShapeExpr) and data.ty.ndim > len(shape.values):
        leading = [tirx.IntImm("int64", 1)] * (data.ty.ndim - len(shape.values))
        shape = relax.ShapeExpr([*leading, *shape.values])
    return onnx_frontend.Expand._impl_v13(builder, [data, shape], attributes, None)
