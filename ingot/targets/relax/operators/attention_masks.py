"""What attention adds to its scores: masks given as tensors, causal ones, lengths of a cache.

A mask becomes a float tensor each of whose dimensions is one or the scores': zero where a key takes
part, the lowest number where it does not. ONNX Runtime adds the same, and so do we: where a row has
no key, its scores are then the lowest number (see ``scaled_dot_product``).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.relax.transform.legalize_ops.common import register_legalize
from tvm.sym import Analyzer

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import Size, as_expression, equal, plain
from ingot.targets.relax.tvm_internals import register_operator

LOWEST = float(np.finfo(np.float32).min)
CAUSAL_MASK = "ingot.causal_mask"
_RANK = 4


def additive_mask(
    builder: Builder,
    mask: relax.Expr,
    scores: Sequence[Any],
    dtype: str,
    excluded: float = LOWEST,
) -> relax.Expr:
    """Makes a mask a tensor that is added to the scores.

    Args:
        builder: The block builder to emit to.
        mask: Boolean, true where a key takes part, or of floats; of one to four dimensions, which
            broadcast to the scores'. Its last may be shorter: keys beyond take no part.
        scores: The scores' dimensions: batch, heads, queries, keys.
        dtype: The scores' element type.
        excluded: What is added where a boolean mask is false.

    Raises:
        UnsupportedOperatorError: The mask does not fit the scores.
    """
    given = mask.ty.shape
    if given is None or not 1 <= len(given) <= _RANK:
        raise UnsupportedOperatorError("an attention mask needs one to four known dimensions")
    boolean = str(mask.ty.dtype) == "bool"
    mask = _fit(builder, mask, scores[_RANK - len(given) :], False if boolean else LOWEST)
    if boolean:
        choices = (relax.const(number, dtype) for number in (0.0, excluded))
        return builder.emit(relax.op.where(mask, *choices))
    return mask if str(mask.ty.dtype) == dtype else builder.emit(relax.op.astype(mask, dtype))


def _fit(builder: Builder, mask: relax.Expr, wanted: Sequence[Any], fill: float) -> relax.Expr:
    """Gives a mask dimensions that are one or known to be the wanted ones."""
    given = list(mask.ty.shape)
    kept = [_is_one(size) or _equal(size, to) for size, to in zip(given, wanted, strict=True)]
    # The standard pads the last dimension, also one of a single key.
    kept[-1] = _equal(given[-1], wanted[-1])
    if all(kept):
        return mask
    sizes = [size if keep else to for size, to, keep in zip(given, wanted, kept, strict=True)]
    for axis, (size, to, keep) in enumerate(zip(given, wanted, kept, strict=True)):
        if not keep:
            _require_fits(builder, plain(size), plain(to), last=axis == len(given) - 1)

    def padded(tensor: te.Tensor) -> te.Tensor:
        def element(*at: tirx.Var) -> tirx.Expr:
            # No index leaves the mask, whatever its sizes turn out to be.
            indices = [tirx.min(i, size - 1) for i, size in zip(at, tensor.shape, strict=True)]
            outside = tirx.const(fill, tensor.dtype)
            # No Select: TVM drops the last bound where the condition says as much.
            return tirx.if_then_else(at[-1] < tensor.shape[-1], tensor(*indices), outside)

        return te.compute(sizes, element, name="mask")

    return builder.emit_te(padded, mask, primfunc_name_hint="fit_mask")


def _require_fits(builder: Builder, size: Size, wanted: Size, *, last: bool) -> None:
    """Has it checked that a mask's size is one, or that of the scores; the last may be shorter."""
    own, to = as_expression(size), as_expression(wanted)
    fits = own <= to if last else tirx.any(equal(own, 1), equal(own, to))
    message = "a mask of {0} does not broadcast to {1}"
    builder.require(tirx.any(equal(own, 1), fits), message, size, wanted)


def causal_mask(
    builder: relax.BlockBuilder, queries: Any, keys: Any, offset: Any, dtype: str
) -> relax.Expr:
    """Returns the mask [queries, keys] that shows query ``i`` the keys up to ``i + offset``."""
    sizes = [tirx.IntImm("int64", size) if isinstance(size, int) else size
             for size in (queries, keys, offset)]  # fmt: skip
    result = relax.TensorType(sizes[:2], dtype)
    return builder.emit(relax.Call(_causal_operator(), [relax.ShapeExpr(sizes)], ty_args=[result]))


def causal_offset(expression: relax.Expr) -> Any | None:
    """Returns the offset of a call that ``causal_mask`` made, None for anything else."""
    if isinstance(expression, relax.Call) and getattr(expression.op, "name", "") == CAUSAL_MASK:
        return expression.args[0].values[2]
    return None


@functools.cache
def _causal_operator() -> tvm.ir.Op:
    register_operator(CAUSAL_MASK, "Zero where a key takes part, the lowest number where not.")
    tvm.ir.register_op_attr(CAUSAL_MASK, "FInferType", lambda call, _: call.ty_args[0])
    tvm.ir.register_op_attr(CAUSAL_MASK, "FPurity", True)
    register_legalize(CAUSAL_MASK, _legalize_causal)
    return tvm.ir.Op.get(CAUSAL_MASK)


def _legalize_causal(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    queries, keys, offset = call.args[0].values
    dtype = str(call.ty.dtype)

    def triangle(queries: Any, keys: Any, offset: Any) -> te.Tensor:
        zero, lowest = tirx.const(0.0, dtype), tirx.const(LOWEST, dtype)
        return te.compute(
            (queries, keys),
            lambda query, key: tirx.Select(key <= query + offset, zero, lowest),
            name="causal",
        )

    return builder.call_te(triangle, queries, keys, offset, primfunc_name_hint="causal_mask")


def length_mask(
    builder: relax.BlockBuilder,
    lengths: relax.Expr,
    scores: Sequence[Any],
    dtype: str,
    excluded: float = LOWEST,
) -> relax.Expr:
    """Returns the mask [batch, 1, 1, keys] of a cache of which each example fills a part.

    Args:
        builder: The block builder to emit to.
        lengths: Keys of each example [batch], int64.
        scores: The scores' dimensions: batch, heads, queries, keys.
        dtype: The scores' element type.
        excluded: What is added where there is no key.
    """
    return _compare_positions(builder, lengths, scores, dtype, excluded=excluded)


def length_and_causal_mask(
    builder: relax.BlockBuilder, lengths: relax.Expr, scores: Sequence[Any], dtype: str
) -> relax.Expr:
    """Returns the causal mask [batch, 1, queries, keys] of queries that end each example's keys."""
    return _compare_positions(builder, lengths, scores, dtype, queries=scores[2], excluded=LOWEST)


def _compare_positions(
    builder: relax.BlockBuilder,
    lengths: relax.Expr,
    scores: Sequence[Any],
    dtype: str,
    *,
    excluded: float,
    queries: Any = None,
) -> relax.Expr:
    batch, _, _, keys = scores
    one = tirx.IntImm("int64", 1)

    def mask(tensor: te.Tensor) -> te.Tensor:
        def element(example: tirx.Var, _: tirx.Var, query: tirx.Var, key: tirx.Var) -> tirx.Expr:
            last = tensor(example) - 1
            if queries is not None:
                last = last - queries + 1 + query
            return tirx.Select(key <= last, tirx.const(0.0, dtype), tirx.const(excluded, dtype))

        sizes = (batch, one, one if queries is None else queries, keys)
        return te.compute(sizes, element, name="mask")

    return builder.emit_te(mask, lengths, primfunc_name_hint="length_mask")


def _is_one(size: Any) -> bool:
    return isinstance(size, tirx.IntImm) and int(size) == 1


def _equal(first: Any, second: Any) -> bool:
    return bool(Analyzer().can_prove_equal(first, second))
