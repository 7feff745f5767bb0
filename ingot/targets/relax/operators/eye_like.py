"""Ones on a diagonal, the ONNX operator ``EyeLike``."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from tvm import relax


def eye_like(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``EyeLike``.

    Args:
        builder: The block builder to emit to.
        inputs: A matrix, of which the shape counts.
        attributes: ``k``: which diagonal (0), ``dtype`` (that of the matrix).
    """
    del builder
    (like,) = inputs
    dtype = str(like.ty.dtype)
    if "dtype" in attributes:
        dtype = ir.DataType(attributes["dtype"]).numpy().name
    rows, columns = like.ty.shape
    return relax.op.eye(rows, columns, attributes.get("k", 0), dtype)
