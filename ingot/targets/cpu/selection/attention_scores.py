"""Reading the way from an attention's weights back to the product of its queries and keys."""

from __future__ import annotations

import dataclasses

import numpy as np
from tvm import relax, tirx

from ingot.targets.cpu.kernels.attention.problem import WithoutKeys
from ingot.targets.cpu.kernels.writing.dimension import Dim
from ingot.targets.cpu.selection.attention_views import factor, single_number
from ingot.targets.cpu.selection.base import Selection, is_call, producer, single_use
from ingot.targets.cpu.selection.dimensions import same_dimension, shape_of
from ingot.targets.relax.operators.attention_masks import LOWEST, causal_offset


@dataclasses.dataclass(frozen=True)
class Scores:
    """What the scores are made of.

    Attributes:
        product: The product of queries and keys.
        scale: What it is multiplied with.
        cap: The soft cap, zero without.
        masks: Tensors that are added, in order.
        selected: A condition, and the number that takes the score's place where it does not hold;
            this comes before what is added.
        causal: The offset of a causal mask, and the mask.
        without_keys: What a row without any key is.
    """

    product: relax.Call
    scale: float = 1.0
    cap: float = 0.0
    masks: tuple[relax.Expr, ...] = ()
    selected: tuple[relax.Expr, float, bool] | None = None
    causal: tuple[Dim, relax.Expr] | None = None
    without_keys: WithoutKeys = WithoutKeys.NOT_A_NUMBER


def read_weights(
    selection: Selection, weights: relax.Expr
) -> tuple[relax.Call, WithoutKeys] | None:
    """Reads a softmax over the last axis, also one whose rows without keys are made zeros."""
    softmax = single_use(selection, weights, "relax.nn.softmax")
    without = WithoutKeys.NOT_A_NUMBER
    if softmax is None:
        chosen = single_use(selection, weights, "relax.where")
        guarded = None if chosen is None else _guarded(selection, chosen)
        if guarded is None:
            return None
        softmax, without = guarded
    shape = shape_of(softmax)
    if shape is None or int(softmax.attrs.axis) not in (-1, len(shape) - 1):
        return None
    return softmax, without


def _guarded(selection: Selection, chosen: relax.Call) -> tuple[relax.Call, WithoutKeys] | None:
    """Reads ``where(there is no key, 0, softmax)``, by the scores or by what the softmax gives."""
    test, if_true, if_false = chosen.args
    condition = producer(selection, test)
    if single_number(if_true) != 0.0 or condition is None:
        return None
    softmax = producer(selection, if_false)
    if not is_call(softmax, "relax.nn.softmax"):
        return None
    if is_call(condition, "relax.isnan") and condition.args[0].same_as(if_false):
        return softmax, WithoutKeys.ZERO_FOR_NOT_A_NUMBER
    peak = producer(selection, condition.args[0])
    by_scores = (
        is_call(condition, "relax.less_equal")
        and single_number(condition.args[1]) == LOWEST
        and is_call(peak, "relax.max")
        and peak.args[0].same_as(softmax.args[0])
    )
    return (softmax, WithoutKeys.ZERO) if by_scores else None


def read_scores(selection: Selection, scores: relax.Expr) -> Scores | None:
    """Follows masks, a soft cap and factors back to the product of queries and keys."""
    call = producer(selection, scores)
    if call is None:
        return None
    if is_call(call, "relax.matmul"):
        return Scores(call)
    if is_call(call, "relax.add"):
        return _added(selection, call)
    if is_call(call, "relax.where"):
        return _selected(selection, call)
    scaled = factor(call)
    if scaled is None:
        return None
    inner, number = scaled
    bounded = producer(selection, inner)
    if is_call(bounded, "relax.tanh"):
        return _capped(selection, bounded, number)
    found = read_scores(selection, inner)
    if found is None or found.masks or found.selected or found.causal is not None or found.cap:
        return None
    return dataclasses.replace(found, scale=found.scale * number)


def _capped(selection: Selection, bounded: relax.Call, cap: float) -> Scores | None:
    found = read_scores(selection, bounded.args[0])
    if found is None or found.masks or found.selected or found.causal is not None or found.cap:
        return None
    if not cap > 0.0:
        return None
    # What is within the tangent is the score over the cap.
    return dataclasses.replace(found, scale=found.scale * cap, cap=cap)


def _added(selection: Selection, call: relax.Call) -> Scores | None:
    for inner, mask in (call.args, reversed(call.args)):
        found = read_scores(selection, inner)
        if found is None or not same_shape(inner, call):
            continue
        made = producer(selection, mask)
        offset = causal_offset(made) if made is not None else None
        if offset is not None and found.causal is None:
            return dataclasses.replace(found, causal=(_as_dim(offset), mask))
        source = made.args[0] if is_call(made, "relax.broadcast_to") else mask
        if len(shape_of(source) or ()) == 0:
            return None
        return dataclasses.replace(found, masks=(*found.masks, source))
    return None


def _selected(selection: Selection, call: relax.Call) -> Scores | None:
    condition, if_true, if_false = call.args
    for inner, fill, holds in ((if_true, if_false, True), (if_false, if_true, False)):
        number = single_number(fill)
        found = None if number is None else read_scores(selection, inner)
        if found is None or number is None or not same_shape(inner, call):
            continue
        if found.masks or found.selected or found.causal is not None:
            return None
        if number == 0.0 or np.isnan(number):
            return None
        return dataclasses.replace(found, selected=(condition, number, holds))
    return None


def _as_dim(size: relax.Expr) -> Dim:
    return int(size) if isinstance(size, tirx.IntImm) else size


def same_shape(first: relax.Expr, second: relax.Expr) -> bool:
    """Whether two tensors are known to be of the same shape."""
    one, other = shape_of(first), shape_of(second)
    if one is None or other is None or len(one) != len(other):
        return False
    return all(same_dimension(a, b) for a, b in zip(one, other, strict=True))
