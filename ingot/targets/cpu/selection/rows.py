"""Operators over rows, softmax and the norms, and lookups of rows in a table."""

from __future__ import annotations

from collections.abc import Sequence

import tvm
from tvm import relax

from ingot.targets.cpu.kernels.rows.gather import Gather, gather
from ingot.targets.cpu.kernels.rows.rows import Norm, norm, softmax
from ingot.targets.cpu.selection.base import Selection, Selector, single_use
from ingot.targets.cpu.selection.dimensions import Dimensions, shape_of
from ingot.targets.cpu.selection.words.sources import as_stored

# Narrower rows of a table are not worth a loop of their own.
_NARROWEST_ROW = 4


def select_softmax(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel for a softmax over the last axis."""
    shape = shape_of(call)
    if not shape or not _is_float(call) or not _over_last([call.attrs.axis], len(shape)):
        return None
    function = softmax(Dimensions().all_of(shape), selection.cpu)
    return selection.call(function, "softmax", [call.args[0]], call.ty)


def select_rounded_norm(selection: Selection, cast: relax.Call) -> relax.Expr | None:
    """Selects the kernel for a norm whose result is rounded to bfloat16, and not read before."""
    if str(cast.ty.dtype) != "bfloat16":
        return None
    for operator, rule in _NORMS.items():
        call = single_use(selection, cast.args[0], operator)
        if call is not None:
            return rule(selection, call, cast.ty)
    return None


def select_layer_norm(
    selection: Selection, call: relax.Call, result: relax.TensorType | None = None
) -> relax.Expr | None:
    """Selects the kernel for a layer norm over the last axis.

    Args:
        selection: The surroundings.
        call: The norm.
        result: The type of what is made of the norm's result, by default that itself.
    """
    scaled, shifted = bool(call.attrs.scale), bool(call.attrs.center)
    data, scale, shift = call.args
    columns = [scale] * scaled + [shift] * shifted
    return _select_norm(selection, call, (data, columns), result, centered=True, shifted=shifted)


def select_rms_norm(
    selection: Selection, call: relax.Call, result: relax.TensorType | None = None
) -> relax.Expr | None:
    """Selects the kernel for an RMS norm over the last axis; see :func:`select_layer_norm`."""
    data, scale = call.args
    return _select_norm(selection, call, (data, [scale]), result, centered=False, shifted=False)


def _select_norm(
    selection: Selection,
    call: relax.Call,
    operands: tuple[relax.Expr, Sequence[relax.Expr]],
    result: relax.TensorType | None,
    *,
    centered: bool,
    shifted: bool,
) -> relax.Expr | None:
    data, columns = operands
    shape = shape_of(call)
    if not shape or not isinstance(shape[-1], int) or not _over_last(call.attrs.axes, len(shape)):
        return None
    if not all(map(_is_float, (call, *columns))):
        return None
    if any(shape_of(column) != [shape[-1]] for column in columns):
        return None
    data = as_stored(selection, data)
    kind = call.ty if result is None else result
    problem = Norm(
        Dimensions().all_of(shape),
        float(call.attrs.epsilon),
        centered=centered,
        scaled=len(columns) > shifted,
        shifted=shifted,
        source=str(data.ty.dtype),
        result=str(kind.dtype),
    )
    name = "layer_norm" if centered else "rms_norm"
    return selection.call(norm(problem, selection.cpu), name, [data, *columns], kind)


def select_take(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel for a lookup of rows: along the first axis of a table of known size."""
    table, indices = call.args
    rows = shape_of(table)
    mode = str(call.attrs.mode)
    if rows is None or len(rows) < 2 or not _is_float(table) or mode not in ("clip", "fast"):
        return None
    if call.attrs.axis is None or int(call.attrs.axis) != 0:
        return None
    sizes = tuple(size for size in rows if isinstance(size, int))
    if len(sizes) < len(rows) or sizes[0] == 0 or sizes[-1] < _NARROWEST_ROW:
        return None
    counted_from_end = _counted_from_end(selection, indices, sizes[0])
    indices = indices if counted_from_end is None else counted_from_end
    count = shape_of(indices)
    index_type = str(indices.ty.dtype)
    if count is None or index_type not in ("int32", "int64"):
        return None
    problem = Gather(
        sizes,
        Dimensions().all_of(count),
        index_type,
        clipped=mode == "clip",
        from_end=counted_from_end is not None,
    )
    return selection.call(gather(problem, selection.cpu), "gather", [table, indices], call.ty)


def _counted_from_end(selection: Selection, indices: relax.Expr, rows: int) -> relax.Expr | None:
    """Returns x of ``where(x < 0, x + rows, x)``, by which negative indices count from the end."""
    where = _call(selection, indices, "relax.where")
    if where is None:
        return None
    condition, shifted, source = where.args
    less, add = _call(selection, condition, "relax.less"), _call(selection, shifted, "relax.add")
    if less is None or add is None:
        return None
    same = less.args[0].same_as(source) and add.args[0].same_as(source)
    extent = _number(selection, add.args[1])
    return source if same and _number(selection, less.args[1]) == 0 and extent == rows else None


def _number(selection: Selection, expression: relax.Expr) -> int | None:
    """Returns the value of a constant, or of a dimension that is taken from a tensor's shape."""
    if isinstance(expression, tvm.ir.GenericConst):
        value = expression.value.numpy()
        return int(value.reshape(())) if value.size == 1 else None
    cast = _call(selection, expression, "relax.astype")
    if cast is not None:
        return _number(selection, cast.args[0])
    take = _call(selection, expression, "relax.take")
    if take is None:
        return None
    axis = _number(selection, take.args[1])
    to_tensor = _call(selection, take.args[0], "relax.shape_to_tensor")
    shape = None if to_tensor is None else _call(selection, to_tensor.args[0], "relax.shape_of")
    dims = None if shape is None else shape_of(shape.args[0])
    if dims is None or axis is None or not 0 <= axis < len(dims):
        return None
    size = dims[axis]
    return size if isinstance(size, int) else None


def _call(selection: Selection, expression: relax.Expr, operator: str) -> relax.Call | None:
    value = selection.producer(expression) if isinstance(expression, relax.Var) else None
    found = isinstance(value, relax.Call) and getattr(value.op, "name", "") == operator
    return value if found else None


def _is_float(expression: relax.Expr) -> bool:
    return isinstance(expression.ty, relax.TensorType) and str(expression.ty.dtype) == "float32"


def _over_last(axes: Sequence[int], rank: int) -> bool:
    return [int(axis) % rank for axis in axes] == [rank - 1]


_NORMS = {"relax.nn.layer_norm": select_layer_norm, "relax.nn.rms_norm": select_rms_norm}

ROUNDING_SELECTORS: dict[str, Selector] = {"relax.astype": select_rounded_norm}
"""Of what rounds a result: before the rule of the operator whose result it is."""

ROW_SELECTORS: dict[str, Selector] = {
    "relax.nn.softmax": select_softmax,
    "relax.nn.layer_norm": select_layer_norm,
    "relax.nn.rms_norm": select_rms_norm,
    "relax.take": select_take,
}
