"""Attention in its spelled-out form, softmax(Q Kᵀ · scale + mask) V, becomes one kernel.

The kernel reads Q, K and V through the transposes and reshapes that split heads, and writes through
those that join them, so that neither is a pass over memory. A pattern ends at the reshape that
joins heads, at the transpose before it, or at the second product; the longest is tried first.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TypeGuard

import tvm
from tvm import relax

from ingot.targets.cpu.schedules.attention import attention
from ingot.targets.cpu.schedules.attention_problem import Attention, Mask, Operand
from ingot.targets.cpu.schedules.dimension import Dim
from ingot.targets.cpu.selection.base import Selection, Selector
from ingot.targets.cpu.selection.dimensions import Dimensions, same_dimension, shape_of

# What the axes of the products' operands count, by rank; K's are those of its transpose.
_AXES = {3: ("b", "s", "d"), 4: ("b", "h", "s", "d")}
_KEY_AXES = {3: ("b", "d", "s"), 4: ("b", "h", "d", "s")}


@dataclasses.dataclass(frozen=True)
class _View:
    """A tensor, how an operand's axes lie in it, and the factor that it is to be scaled with."""

    tensor: relax.Expr
    axes: tuple[str, ...]
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class _Scores:
    """The first product, the factor of its result, and the mask that is added."""

    product: relax.Call
    scale: float
    mask: relax.Expr | None


def select_attention(selection: Selection, product: relax.Call) -> relax.Expr | None:
    """Selects the kernel for attention whose result stays as the product leaves it."""
    axes = _AXES.get(len(shape_of(product) or ()))
    return None if axes is None else _select(selection, product, axes, product)


def select_attention_and_transpose(
    selection: Selection, transpose: relax.Call
) -> relax.Expr | None:
    """Selects the kernel for attention whose result is transposed."""
    found = _transposed_product(selection, transpose)
    return None if found is None else _select(selection, *found, transpose)


def select_attention_and_join(selection: Selection, reshape: relax.Call) -> relax.Expr | None:
    """Selects the kernel for attention whose result is transposed and then loses its head axis."""
    transpose = _single_use(selection, reshape.args[0], "relax.permute_dims")
    found = None if transpose is None else _transposed_product(selection, transpose)
    if found is None:
        return None
    product, axes = found
    joins = _merges_last(shape_of(reshape.args[0]), shape_of(reshape))
    if axes != ("b", "s", "h", "d") or not joins:
        return None
    return _select(selection, product, ("b", "s", "hd"), reshape)


def _transposed_product(
    selection: Selection, transpose: relax.Call
) -> tuple[relax.Call, tuple[str, ...]] | None:
    """Returns the product that is transposed, and the axes of the transpose."""
    product = _single_use(selection, transpose.args[0], "relax.matmul")
    axes = None if product is None else _AXES.get(len(shape_of(product) or ()))
    if product is None or axes is None:
        return None
    return product, tuple(axes[axis] for axis in _permutation(transpose))


def _select(
    selection: Selection, product: relax.Call, axes: tuple[str, ...], call: relax.Call
) -> relax.Expr | None:
    """Replaces ``call``, in which the second product's axes lie as named, where it is attention."""
    softmax = _single_use(selection, product.args[0], "relax.nn.softmax")
    scores = None if softmax is None else _match_scores(selection, softmax)
    if scores is None or axes[-1] not in ("d", "hd"):
        return None
    query, transposed_key = scores.product.args
    value = product.args[1]
    extents = _extents(query, transposed_key, value)
    if extents is None or isinstance(transposed_key, tvm.ir.GenericConst):
        return None
    views = [
        _view(selection, query, _AXES, features_last=True),
        _view(selection, transposed_key, _KEY_AXES, features_last=False),
        _view(selection, value, _AXES, features_last=True),
    ]
    if views[2].scale != 1.0:
        views[2] = _View(value, _AXES[len(shape_of(value) or ())])
    dimensions = Dimensions()
    mask = None if scores.mask is None else _mask(scores.mask, extents, dimensions)
    if scores.mask is not None and mask is None:
        return None
    shape = shape_of(call)
    if shape is None:
        return None
    operands = [
        Operand(dimensions.all_of(shape_of(view.tensor) or ()), view.axes) for view in views
    ]
    problem = Attention(
        **{name: dimensions.of(extent) for name, extent in extents.items()},
        scale=scores.scale * math.prod(view.scale for view in views),
        query=operands[0],
        key=operands[1],
        value=operands[2],
        result=Operand(dimensions.all_of(shape), axes),
        mask=mask,
    )
    inputs = [view.tensor for view in views]
    return selection.call(
        attention(problem, selection.cpu),
        "attention",
        inputs if scores.mask is None else [*inputs, scores.mask],
        call.ty,
    )


def _extents(
    query: relax.Expr, transposed_key: relax.Expr, value: relax.Expr
) -> dict[str, Dim] | None:
    """Returns the problem's dimensions where the operands' shapes are known to fit."""
    shapes = [shape_of(operand) for operand in (query, transposed_key, value)]
    if any(shape is None or len(shape) not in _AXES for shape in shapes):
        return None
    q, k, v = (shape or [] for shape in shapes)
    if not len(q) == len(k) == len(v):
        return None
    leading = [
        same_dimension(a, b) and same_dimension(a, c)
        for a, b, c in zip(q[:-2], k[:-2], v[:-2], strict=True)
    ]
    sizes = isinstance(q[-1], int) and isinstance(v[-1], int)
    floats = all(str(operand.ty.dtype) == "float32" for operand in (query, transposed_key, value))
    if not (all(leading) and sizes and floats and same_dimension(k[-1], v[-2])):
        return None
    return {
        "batch": q[0],
        "heads": q[1] if len(q) == 4 else 1,
        "queries": q[-2],
        "keys": k[-1],
        "features": q[-1],
        "value_features": v[-1],
    }


def _match_scores(selection: Selection, softmax: relax.Call) -> _Scores | None:
    """Takes scores apart: the product times a factor, perhaps plus a mask."""
    shape = shape_of(softmax)
    if shape is None or int(softmax.attrs.axis) not in (-1, len(shape) - 1):
        return None
    product, scale = _without_factors(selection, softmax.args[0])
    call = _producer(selection, product)
    if _is(call, "relax.matmul"):
        return _Scores(call, scale, None)
    if not _is(call, "relax.add") or scale != 1.0:
        return None
    for scores, mask in (call.args, reversed(call.args)):
        product, scale = _without_factors(selection, scores)
        producer = _producer(selection, product)
        if _is(producer, "relax.matmul"):
            broadcast = _producer(selection, mask)
            source = broadcast.args[0] if _is(broadcast, "relax.broadcast_to") else mask
            return _Scores(producer, scale, source)
    return None


def _mask(mask: relax.Expr, extents: dict[str, Dim], dimensions: Dimensions) -> Mask | None:
    """Returns how a mask broadcasts to the scores."""
    shape = shape_of(mask)
    letters = [extents[name] for name in ("batch", "heads", "queries", "keys")]
    if shape is None or not 1 <= len(shape) <= 4 or str(mask.ty.dtype) != "float32":
        return None
    broadcast = [
        True if dim == 1 else False if same_dimension(dim, wanted) else None
        for dim, wanted in zip(shape, letters[4 - len(shape) :], strict=True)
    ]
    return Mask(dimensions.all_of(shape), tuple(broadcast))


def _view(
    selection: Selection,
    operand: relax.Expr,
    axes_by_rank: dict[int, tuple[str, ...]],
    *,
    features_last: bool,
) -> _View:
    """Follows an operand back through transposes, factors and the reshape that splits heads."""
    view = _View(operand, axes_by_rank[len(shape_of(operand) or ())])
    best = view
    while True:
        call = _producer(selection, view.tensor)
        factor = _factor(call)
        if factor is not None:
            view = _View(factor[0], view.axes, view.scale * factor[1])
        elif _is(call, "relax.permute_dims"):
            axes = dict(zip(_permutation(call), view.axes, strict=True))
            view = _View(call.args[0], tuple(axes[axis] for axis in sorted(axes)), view.scale)
        elif (
            _is(call, "relax.reshape")
            and view.axes[-2:] == ("h", "d")
            and _merges_last(shape_of(call), shape_of(call.args[0]))
        ):
            view = _View(call.args[0], (*view.axes[:-2], "hd"), view.scale)
        else:
            return best
        if view.axes[-1] in ("d", "hd") or not features_last:
            best = view


def _merges_last(apart: list[Dim] | None, joined: list[Dim] | None) -> bool:
    """Whether ``joined`` is ``apart`` with the last two dimensions, both numbers, merged."""
    if apart is None or joined is None or len(apart) != len(joined) + 1:
        return False
    if not (isinstance(apart[-2], int) and isinstance(apart[-1], int)):
        return False
    pairs = zip([*apart[:-2], apart[-2] * apart[-1]], joined, strict=True)
    return all(same_dimension(a, b) for a, b in pairs)


def _without_factors(selection: Selection, expression: relax.Expr) -> tuple[relax.Expr, float]:
    scale = 1.0
    while (factor := _factor(_producer(selection, expression))) is not None:
        expression, scale = factor[0], scale * factor[1]
    return expression, scale


def _factor(call: relax.Call | None) -> tuple[relax.Expr, float] | None:
    """Returns x and c of ``x * c``, ``c * x`` or ``x / c`` where c is one constant number."""
    if call is None or not (_is(call, "relax.multiply") or _is(call, "relax.divide")):
        return None
    pairs = [(call.args[0], call.args[1])]
    if _is(call, "relax.multiply"):
        pairs.append((call.args[1], call.args[0]))
    for tensor, constant in pairs:
        if isinstance(constant, tvm.ir.GenericConst) and constant.value.numpy().size == 1:
            if len(shape_of(constant) or ()) > len(shape_of(tensor) or ()):
                return None
            number = float(constant.value.numpy().reshape(()))
            if _is(call, "relax.divide"):
                number = 1.0 / number if number else math.nan
            return (tensor, number) if math.isfinite(number) else None
    return None


def _producer(selection: Selection, expression: relax.Expr) -> relax.Call | None:
    value = selection.producer(expression) if isinstance(expression, relax.Var) else None
    return value if isinstance(value, relax.Call) else None


def _single_use(selection: Selection, expression: relax.Expr, operator: str) -> relax.Call | None:
    """Returns the call of this operator that made a tensor, if nothing else reads it."""
    call = _producer(selection, expression)
    return call if _is(call, operator) and selection.uses(expression) == 1 else None


def _is(call: relax.Call | None, operator: str) -> TypeGuard[relax.Call]:
    return call is not None and getattr(call.op, "name", "") == operator


def _permutation(transpose: relax.Call) -> list[int]:
    rank = len(shape_of(transpose) or ())
    axes = transpose.attrs.axes
    return [int(axis) % rank for axis in axes] if axes else list(reversed(range(rank)))


# The longest pattern first.
ATTENTION_SELECTORS: tuple[dict[str, Selector], ...] = (
    {"relax.reshape": select_attention_and_join},
    {"relax.permute_dims": select_attention_and_transpose},
    {"relax.matmul": select_attention},
)
