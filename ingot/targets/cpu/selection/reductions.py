"""Reductions over whole images or sequences that become kernels of Ingot's own."""

from __future__ import annotations

import math
from typing import Any

from tvm import relax, te

from ingot.targets.cpu.kernels.anchors import ColumnReductionAnchor, Reduction, anchor_attributes
from ingot.targets.cpu.kernels.writing.emission import as_float, index
from ingot.targets.cpu.selection.base import (
    OP_PATTERN,
    OUT_ELEMENTWISE_FUSABLE,
    Selection,
    Selector,
)
from ingot.targets.cpu.selection.dimensions import shape_of
from ingot.targets.cpu.selection.words.sources import as_stored

_REDUCE = {"sum": te.sum, "max": te.max, "min": te.min}
# A mean is a sum, divided.
_KINDS: dict[str, Reduction] = {
    "relax.mean": "sum",
    "relax.sum": "sum",
    "relax.max": "max",
    "relax.min": "min",
}


def select_reduction(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel of a sum, mean, maximum or minimum over the axes before the last.

    Other axes may stand before those that are reduced, but none between them and the last.
    """
    name = str(call.op.name)
    shape = shape_of(call.args[0])
    if not shape or len(shape) < 2 or not isinstance(shape[-1], int) or shape[-1] == 0:
        return None
    if str(call.args[0].ty.dtype) != "float32" or call.attrs.axis is None:
        return None
    axes = sorted(int(axis) % len(shape) for axis in call.attrs.axis)
    if not axes or axes != list(range(axes[0], len(shape) - 1)):
        return None
    reduced = shape[axes[0] : -1]
    if name != "relax.mean":
        return _reduce(selection, call, _KINDS[name], len(shape), axes[0])
    if not all(isinstance(size, int) for size in reduced):
        return None
    total = selection.builder.emit(_reduce(selection, call, "sum", len(shape), axes[0]))
    return relax.op.divide(total, relax.const(float(math.prod(map(int, reduced))), "float32"))


def _reduce(
    selection: Selection, call: relax.Call, kind: Reduction, rank: int, leading: int
) -> relax.Expr:
    kept = bool(call.attrs.keepdims)

    def reduction(data: te.Tensor) -> te.Tensor:
        axes = [
            te.reduce_axis((index(0), index(data.shape[axis])), "row")
            for axis in range(leading, rank - 1)
        ]
        ones = [index(1)] * len(axes) if kept else []

        def value(*place: Any) -> Any:
            return _REDUCE[kind](as_float(data(*place[:leading], *axes, place[-1])), axis=axes)

        return te.compute(
            (*data.shape[:leading], *ones, data.shape[-1]),
            value,
            name=kind,
            attrs=anchor_attributes(ColumnReductionAnchor(kind, leading)),
        )

    return selection.builder.call_te(
        reduction,
        as_stored(selection, call.args[0]),
        primfunc_name_hint=kind,
        primfunc_attrs={OP_PATTERN: OUT_ELEMENTWISE_FUSABLE},
    )


REDUCTION_SELECTORS: dict[str, Selector] = dict.fromkeys(_KINDS, select_reduction)
