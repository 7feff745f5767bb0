"""Following an attention's operands back through what only rearranges them.

Heads are split, transposed, scaled and repeated before the products, which a kernel can do where it
reads. An axis counts some letters (see ``kernels.attention.problem.Operand``); each step back
says which letters the axes of the tensor before it count.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import tvm
from tvm import relax

from ingot.targets.cpu.kernels.writing.dimension import Dim, product
from ingot.targets.cpu.selection.base import Selection, is_call, producer
from ingot.targets.cpu.selection.dimensions import same_dimension, shape_of


@dataclasses.dataclass(frozen=True)
class View:
    """A tensor, how an operand's letters lie in it, and the factor that it is to be scaled with."""

    tensor: relax.Expr
    axes: tuple[str, ...]
    scale: float = 1.0


class Extents:
    """The extent of each letter; heads may turn out to be of groups."""

    def __init__(self, extents: Mapping[str, Dim]) -> None:
        """Takes the extents of ``b``, ``h``, ``s`` and ``d``; ``h`` stands for ``k`` and ``g``."""
        self._of = dict(extents)

    def __getitem__(self, letter: str) -> Dim:
        return self._of[letter]

    def of(self, letters: str) -> Dim:
        """Returns the extent of an axis that counts letters."""
        return product(self._of[letter] for letter in letters)


def follow(
    selection: Selection,
    operand: relax.Expr,
    axes: tuple[str, ...],
    extents: Mapping[str, Dim],
    *,
    features_last: bool,
) -> View:
    """Follows an operand back as far as its letters can be told.

    Args:
        selection: The surroundings.
        operand: The operand.
        axes: What its axes count, one letter each: ``k`` and ``g`` apart where heads are grouped.
        extents: The letters' extents.
        features_last: Whether the view's last axis has to end with the features.
    """
    view = View(operand, axes)
    best = view
    while True:
        step = _step(view, producer(selection, view.tensor), extents)
        if step is None:
            return best
        view = step
        if view.axes[-1].endswith("d") or not features_last:
            best = view


def _step(view: View, call: relax.Call | None, extents: Mapping[str, Dim]) -> View | None:
    if call is None:
        return None
    if is_call(call, "relax.astype") and _widens(call):
        return View(call.args[0], view.axes, view.scale)
    scaled = factor(call)
    if scaled is not None:
        if str(call.ty.dtype) != "float32":
            return None
        return View(scaled[0], view.axes, view.scale * scaled[1])
    axes: Sequence[str] | None = None
    if is_call(call, "relax.permute_dims"):
        order = permutation(call)
        axes = [view.axes[order.index(axis)] for axis in range(len(order))]
    elif is_call(call, "relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten"):
        axes = regroup(view.axes, shape_of(call.args[0]), extents)
    elif is_call(call, "relax.broadcast_to"):
        axes = _before_broadcast(view.axes, shape_of(call.args[0]), shape_of(call))
    return None if axes is None or not axes else View(call.args[0], tuple(axes), view.scale)


def _widens(cast: relax.Call) -> bool:
    """Whether it makes float32 of bfloat16, which the kernel does where it reads."""
    return (str(cast.args[0].ty.dtype), str(cast.ty.dtype)) == ("bfloat16", "float32")


def regroup(
    axes: Sequence[str], shape: Sequence[Dim] | None, extents: Mapping[str, Dim]
) -> list[str] | None:
    """Says what the axes of a tensor count that has the same elements in another shape.

    Args:
        axes: What the axes of the first shape count.
        shape: The other shape.
        extents: The letters' extents.

    Returns:
        What its axes count, or None where they cut the elements elsewhere.
    """
    if shape is None:
        return None
    letters = [letter for axis in axes for letter in axis]
    result: list[str] = []
    for dim in shape:
        taken = ""
        while not same_dimension(product(extents[letter] for letter in taken), dim):
            if not letters:
                return None
            taken += letters.pop(0)
            size = product(extents[letter] for letter in taken)
            if isinstance(size, int) and isinstance(dim, int) and size > dim:
                return None
        result.append(taken)
    # What is left counts one.
    if any(not same_dimension(extents[letter], 1) for letter in letters):
        return None
    return result


def _before_broadcast(
    axes: Sequence[str], before: Sequence[Dim] | None, after: Sequence[Dim] | None
) -> list[str] | None:
    if before is None or after is None or len(after) != len(axes):
        return None
    missing = len(after) - len(before)
    result: list[str] = []
    for letters, dim, wanted in zip(axes[missing:], before, after[missing:], strict=True):
        if same_dimension(dim, wanted):
            result.append(letters)
        elif same_dimension(dim, 1) and set(letters) <= set("bkg"):
            result.append("")
        else:
            return None
    return result


def factor(call: relax.Call | None) -> tuple[relax.Expr, float] | None:
    """Returns x and c of ``x * c``, ``c * x`` or ``x / c`` where c is one constant number."""
    if not is_call(call, "relax.multiply", "relax.divide"):
        return None
    divides = is_call(call, "relax.divide")
    pairs = [(call.args[0], call.args[1])]
    if not divides:
        pairs.append((call.args[1], call.args[0]))
    for tensor, constant in pairs:
        number = single_number(constant)
        if number is None:
            continue
        if len(shape_of(constant) or ()) > len(shape_of(tensor) or ()):
            return None
        if divides:
            number = 1.0 / number if number else math.nan
        return (tensor, number) if math.isfinite(number) else None
    return None


def single_number(expression: relax.Expr) -> float | None:
    """Returns the number in a constant of one element."""
    if isinstance(expression, tvm.ir.GenericConst):
        array = expression.value.numpy()
        if array.size == 1:
            return float(array.reshape(()))
    return None


def permutation(transpose: relax.Call) -> list[int]:
    """Returns the axes of a transposition."""
    rank = len(shape_of(transpose) or ())
    axes = transpose.attrs.axes
    return [int(axis) % rank for axis in axes] if axes else list(reversed(range(rank)))
