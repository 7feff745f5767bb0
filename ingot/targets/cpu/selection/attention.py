"""Attention in its spelled-out form, softmax(Q Kᵀ · scale + mask) V, becomes one kernel.

The kernel reads Q, K and V through the transposes and reshapes that split heads, and writes through
those that join them, so that neither is a pass over memory; heads of keys that several heads of
queries share are read where they are, not repeated. A pattern ends at the reshape that joins heads,
at the transpose before it, or at the second product; the longest is tried first.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import tvm
from tvm import relax

from ingot.targets.cpu.kernels.attention.attention import attention
from ingot.targets.cpu.kernels.attention.problem import Attention, Mask, Operand
from ingot.targets.cpu.kernels.writing.dimension import Dim, product
from ingot.targets.cpu.selection.attention_scores import Scores, read_scores, read_weights
from ingot.targets.cpu.selection.attention_views import View, follow, permutation, regroup
from ingot.targets.cpu.selection.base import Selection, Selector, is_call, producer, single_use
from ingot.targets.cpu.selection.dimensions import Dimensions, same_dimension, shape_of

# What the leading axes of the products' operands count, by rank. Five axes have grouped heads.
_LEADING: dict[int, tuple[str, ...]] = {3: ("b",), 4: ("b", "h"), 5: ("b", "k", "g")}
_GROUPED_RANK = 5
# Adding such a number to a score gives the number.
_OVERWHELMING = 1e30


def select_attention(selection: Selection, second: relax.Call) -> relax.Expr | None:
    """Selects the kernel for attention whose result stays as the product leaves it."""
    return _select(selection, second, None, second)


def select_attention_and_transpose(
    selection: Selection, transpose: relax.Call
) -> relax.Expr | None:
    """Selects the kernel for attention whose result is transposed."""
    second = _product(selection, transpose.args[0])
    return None if second is None else _select(selection, second, transpose, transpose)


def select_attention_and_join(selection: Selection, reshape: relax.Call) -> relax.Expr | None:
    """Selects the kernel for attention whose result is transposed and then reshaped."""
    transpose = single_use(selection, reshape.args[0], "relax.permute_dims")
    if transpose is None:
        return None
    second = _product(selection, transpose.args[0])
    return None if second is None else _select(selection, second, transpose, reshape)


def select_attention_and_round(selection: Selection, cast: relax.Call) -> relax.Expr | None:
    """Selects the kernel for attention whose result is rounded to bfloat16."""
    if str(cast.ty.dtype) != "bfloat16":
        return None
    second = single_use(selection, cast.args[0], "relax.matmul")
    return None if second is None else _select(selection, second, None, cast)


def _product(selection: Selection, result: relax.Expr) -> relax.Call | None:
    """The second product, which may be rounded to bfloat16 before it is rearranged."""
    cast = single_use(selection, result, "relax.astype")
    if cast is not None and str(cast.ty.dtype) == "bfloat16":
        result = cast.args[0]
    return single_use(selection, result, "relax.matmul")


def _select(
    selection: Selection,
    second: relax.Call,
    transpose: relax.Call | None,
    call: relax.Call,
) -> relax.Expr | None:
    """Replaces ``call``, the second product or what follows it, where this is attention."""
    read = read_weights(selection, second.args[0])
    scores = None if read is None else read_scores(selection, read[0].args[0])
    if read is None or scores is None:
        return None
    scores = dataclasses.replace(scores, without_keys=read[1])
    found = _Products.of(scores.product, second)
    if found is None or isinstance(scores.product.args[1], tvm.ir.GenericConst):
        return None
    for group in found.groups(selection):
        views = found.views(selection, group)
        if views is None:
            continue
        axes = found.result_axes(transpose, call, group)
        if axes is None:
            return None
        return _call(selection, scores, found, (group, views, axes), call)
    return None


@dataclasses.dataclass(frozen=True)
class _Products:
    """The two products' operands, and the sizes that they have in common.

    Attributes:
        query: Q [..., queries, features].
        key: K, transposed, [..., features, keys].
        value: V [..., keys, value features].
        shape: The result's leading dimensions.
        queries: Number of queries.
        keys: Number of keys.
        features: Features of queries and keys.
        value_features: Features of values.
    """

    query: relax.Expr
    key: relax.Expr
    value: relax.Expr
    shape: tuple[Dim, ...]
    queries: Dim
    keys: Dim
    features: int
    value_features: int

    @classmethod
    def of(cls, scores: relax.Call, result: relax.Call) -> _Products | None:
        """Reads the products where their operands' shapes are known to fit."""
        operands = (*scores.args, result.args[1])
        shapes = [shape_of(operand) for operand in operands]
        q, k, v = (shape or [] for shape in shapes)
        whole = shape_of(result)
        if whole is None or not len(q) == len(k) == len(v) == len(whole):
            return None
        if len(q) not in _LEADING:
            return None
        if any(str(operand.ty.dtype) != "float32" for operand in operands):
            return None
        leading = whole[:-2]
        if not all(same_dimension(a, b) for a, b in zip(q[:-2], leading, strict=True)):
            return None
        for shape in (k, v):
            for dim, wanted in zip(shape[:-2], leading, strict=True):
                if not (same_dimension(dim, wanted) or same_dimension(dim, 1)):
                    return None
        if not (isinstance(q[-1], int) and isinstance(v[-1], int) and same_dimension(k[-1], v[-2])):
            return None
        query, key, value = operands
        sizes = (tuple(leading), q[-2], k[-1], q[-1], v[-1])
        return cls(query, key, value, *sizes)

    @property
    def heads(self) -> Dim:
        """Heads of queries."""
        return product(self.shape[1:])

    def groups(self, selection: Selection) -> list[int]:
        """Returns how many heads may share one of keys, the most promising number first."""
        if len(self.shape) == _GROUPED_RANK - 2:
            return [self.shape[2]] if isinstance(self.shape[2], int) else []
        if not isinstance(self.heads, int):
            return [1]
        shared = [shape_of(operand) for operand in (self.key, self.value)]
        if self.heads > 1 and all(shape is not None and shape[1] == 1 for shape in shared):
            return [self.heads]
        candidate = _repeated(selection, self.value, self.heads)
        return [1] if candidate is None else [candidate, 1]

    def views(self, selection: Selection, group: int) -> list[View] | None:
        """Follows the operands back; None where heads do not share keys so."""
        views = []
        for operand, axes, features, positions in (
            (self.query, ("s", "d"), self.features, self.queries),
            (self.key, ("d", "s"), self.features, self.keys),
            (self.value, ("s", "d"), self.value_features, self.keys),
        ):
            extents = self.extents(group, positions, features)
            leading = self._leading(shape_of(operand) or [], group)
            view = follow(
                selection, operand, (*leading, *axes), extents, features_last=axes[-1] == "d"
            )
            if operand is not self.query and group > 1 and any("g" in axis for axis in view.axes):
                return None
            if operand is self.value and view.scale != 1.0:
                # The kernel scales queries alone.
                view = View(operand, (*leading, *axes))
                if group > 1 and any("g" in axis for axis in leading):
                    return None
            views.append(view)
        return views

    def extents(self, group: int, positions: Dim, features: int) -> dict[str, Dim]:
        """Returns the extent of each letter."""
        heads = self.heads // group if isinstance(self.heads, int) else self.heads
        return {"b": self.shape[0], "k": heads, "g": group, "s": positions, "d": features}

    def _leading(self, shape: Sequence[Dim], group: int) -> list[str]:
        """What the leading axes of an operand count; nothing where it has one for all."""
        axes = []
        for letters, dim, wanted in zip(_LEADING[len(shape)], shape[:-2], self.shape, strict=True):
            if letters == "h":
                letters = "k" if group == 1 else "kg"
            axes.append(letters if same_dimension(dim, wanted) else "")
        return axes

    def result_axes(
        self, transpose: relax.Call | None, call: relax.Call, group: int
    ) -> tuple[str, ...] | None:
        """Says what the axes of the result count; its features have to be neighbours."""
        shape = [*self.shape, self.queries, self.value_features]
        axes: Sequence[str] | None = [*self._leading(shape, group), "s", "d"]
        assert axes is not None
        if transpose is not None:
            axes = [axes[axis] for axis in permutation(transpose)]
        if is_call(call, "relax.reshape"):
            extents = self.extents(group, self.queries, self.value_features)
            axes = regroup(axes, shape_of(call), extents)
        return tuple(axes) if axes and axes[-1].endswith("d") else None


def _repeated(selection: Selection, operand: relax.Expr, heads: int) -> int | None:
    """Returns by how much heads were repeated, [.., heads, repetitions, ..] before a reshape."""
    call = producer(selection, operand)
    while is_call(call, "relax.reshape", "relax.permute_dims"):
        shape = shape_of(call.args[0])
        if is_call(call, "relax.reshape") and shape is not None and len(shape) == _GROUPED_RANK:
            key_heads, group = shape[1], shape[2]
            if isinstance(key_heads, int) and isinstance(group, int) and key_heads * group == heads:
                return group if group > 1 else None
        call = producer(selection, call.args[0])
    return None


def _call(
    selection: Selection,
    scores: Scores,
    found: _Products,
    layout: tuple[int, list[View], tuple[str, ...]],
    call: relax.Call,
) -> relax.Expr | None:
    """Writes the kernel and calls it."""
    group, views, axes = layout
    dimensions = Dimensions()
    operands = [
        Operand(
            dimensions.all_of(shape_of(view.tensor) or ()), view.axes, str(view.tensor.ty.dtype)
        )
        for view in views
    ]
    shape = shape_of(call)
    assert shape is not None
    result = Operand(dimensions.all_of(shape), axes, str(call.ty.dtype))
    extents = found.extents(group, found.queries, found.features)
    sizes = {
        "batch": dimensions.of(extents["b"]),
        "heads": dimensions.of(extents["k"]),
        "queries": dimensions.of(found.queries),
        "keys": dimensions.of(found.keys),
    }
    causal = None if scores.causal is None else dimensions.known(scores.causal[0])
    added = list(scores.masks)
    if scores.causal is not None and causal is None:
        added.append(scores.causal[1])
    combined = _combined(selection, scores, added)
    mask = None
    if combined is not None:
        mask = _mask(combined[0], found, dimensions, replaces=combined[1])
    if (added or scores.selected) and mask is None:
        return None
    problem = Attention(
        **sizes,
        group=group,
        features=found.features,
        value_features=found.value_features,
        scale=scores.scale * math.prod(view.scale for view in views),
        query=operands[0],
        key=operands[1],
        value=operands[2],
        result=result,
        cap=scores.cap,
        mask=mask,
        causal=causal,
        without_keys=scores.without_keys,
    )
    inputs = [view.tensor for view in views]
    return selection.call(
        attention(problem, selection.cpu),
        "attention",
        inputs if combined is None else [*inputs, combined[0]],
        call.ty,
    )


def _combined(
    selection: Selection, scores: Scores, added: Sequence[relax.Expr]
) -> tuple[relax.Expr, bool] | None:
    """Makes one tensor of all masks, and says whether what is not zero replaces scores.

    Returns:
        None without masks, or where one tensor does not do.
    """
    builder = selection.builder
    whole: relax.Expr | None = None
    for mask in added:
        whole = mask if whole is None else builder.emit(relax.op.add(whole, mask))
    if scores.selected is None:
        return None if whole is None else (whole, False)
    condition, fill, holds = scores.selected
    if whole is None:
        whole = relax.const(0.0, "float32")
    elif abs(fill) < _OVERWHELMING:
        return None
    replaced = relax.const(fill, "float32")
    if added:
        replaced = builder.emit(relax.op.add(whole, replaced))
    choice = (whole, replaced) if holds else (replaced, whole)
    return builder.emit(relax.op.where(condition, *choice)), not added


def _mask(
    mask: relax.Expr, found: _Products, dimensions: Dimensions, *, replaces: bool
) -> Mask | None:
    """Returns how a mask broadcasts to the scores."""
    shape = shape_of(mask)
    letters = "".join((*_LEADING[len(found.shape) + 2], "q", "t"))
    wanted = [*found.shape, found.queries, found.keys]
    if shape is None or not 1 <= len(shape) <= len(letters) or str(mask.ty.dtype) != "float32":
        return None
    broadcast = [
        True if dim == 1 else False if same_dimension(dim, to) else None
        for dim, to in zip(shape, wanted[-len(shape) :], strict=True)
    ]
    return Mask(
        dimensions.all_of(shape), letters[-len(shape) :], tuple(broadcast), replaces=replaces
    )


# The longest pattern first.
ATTENTION_SELECTORS: tuple[dict[str, Selector], ...] = (
    {"relax.reshape": select_attention_and_join},
    {"relax.permute_dims": select_attention_and_transpose},
    {"relax.astype": select_attention_and_round},
    {"relax.matmul": select_attention},
)
