"""Matmuls with constant weights that become kernels of Ingot's own, the weights packed."""

from __future__ import annotations

import math
from typing import Any

import tvm
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import MatmulAnchor, anchor_attributes
from ingot.targets.cpu.kernels.tiling.tiles import Panels, choose_panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import (
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
)
from ingot.targets.cpu.selection.packing import pack_panels


def select_matmul(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of a product with a constant matrix."""
    rows, weights = call.args
    if not isinstance(weights, tvm.ir.GenericConst):
        return None
    array = weights.value.numpy()
    shape = rows.ty.shape
    if array.ndim != 2 or str(array.dtype) != "float32" or shape is None or len(shape) < 2:
        return None
    leading = list(shape)[:-1]
    known = all(isinstance(size, tirx.IntImm) for size in leading)
    extent = math.prod(int(size.value) for size in leading) if known else None
    panels = choose_panels(array.shape[1], extent, selection.cpu)
    return selection.builder.call_te(
        _anchor(array.shape[0], panels),
        rows,
        relax.const(pack_panels(array, panels)),
        primfunc_name_hint="matmul",
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


def _anchor(depth: int, panels: Panels) -> Any:
    def matmul(rows: te.Tensor, weights: te.Tensor) -> te.Tensor:
        k = te.reduce_axis((index(0), index(depth)), "k")
        width = index(panels.width)

        def value(*place: Any) -> Any:
            *leading, column = place
            return te.sum(rows(*leading, k) * weights[column // width, k, column % width], axis=[k])

        return te.compute(
            (*rows.shape[:-1], index(panels.columns)),
            value,
            name="matmul",
            attrs=anchor_attributes(MatmulAnchor(depth, panels.vectors, strides=(), taps=1)),
        )

    return matmul
