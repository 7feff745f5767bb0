"""Transposes that vanish, or move to where there is less to rearrange.

A network that flattens images for its attention and unflattens them for its convolutions
transposes back and forth. With channels last in between, most of these chains of transposes and
reshapes leave every element where it is: they are one reshape. A transpose behind a concatenation
or a resize moves before it, where it may vanish, or has a smaller image to rearrange.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tvm
from tvm import relax

from ingot.targets.cpu.kernels.writing.dimension import Dim, product
from ingot.targets.cpu.selection.base import NCHW_TO_NHWC, is_call
from ingot.targets.cpu.selection.dimensions import same_dimension, shape_expr, shape_of
from ingot.targets.relax.uses import count_uses

# An order of axes.
_TRANSPOSE = "relax.permute_dims"
# What gives a tensor another shape and leaves its elements in their order.
_RESHAPES = ("relax.reshape", "relax.expand_dims", "relax.squeeze")


@dataclasses.dataclass(eq=False)
class _Atom:
    """A factor of a dimension that no step of a chain takes apart.

    Attributes:
        size: How many positions it has.
        parts: The atoms that it was replaced by, outermost first, once a reshape splits it.
    """

    size: Dim
    parts: list[_Atom] | None = None

    def leaves(self) -> list[_Atom]:
        """The atom itself, or what it was split into."""
        return [self] if self.parts is None else [a for part in self.parts for a in part.leaves()]


@dataclasses.dataclass(frozen=True)
class _Arrangement:
    """A tensor whose elements are some source's, rearranged.

    Attributes:
        order: The source's atoms in the source's order, outermost first.
        dimensions: The atoms of each of the tensor's dimensions, outermost first.
    """

    order: list[_Atom]
    dimensions: list[list[_Atom]]

    @classmethod
    def of(cls, shape: Sequence[Dim]) -> _Arrangement:
        """A source of a shape."""
        atoms = [[] if size == 1 else [_Atom(size)] for size in shape]
        return cls([atom for atoms_of in atoms for atom in atoms_of], atoms)

    def permuted(self, axes: Sequence[int]) -> _Arrangement:
        """The tensor with its dimensions in another order."""
        return _Arrangement(self.order, [self.dimensions[axis] for axis in axes])

    def reshaped(self, shape: Sequence[Dim]) -> _Arrangement | None:
        """The tensor with another shape; None where its dimensions are split across atoms."""
        left = [atom for atoms in self.dimensions for given in atoms for atom in given.leaves()]
        dimensions: list[list[_Atom]] = []
        for size in shape:
            taken: list[_Atom] = []
            while not same_dimension(_size(taken), size):
                if not left:
                    return None
                atom = left.pop(0)
                if _overshoots(_size([*taken, atom]), size) or not isinstance(atom.size, int):
                    split = _split(atom, _size(taken), size, shape[len(dimensions) + 1 :])
                    if split is None:
                        return None
                    atom, rest = split
                    left[:0] = rest
                taken.append(atom)
            dimensions.append(taken)
        return None if left else _Arrangement(self.order, dimensions)

    @property
    def in_order(self) -> bool:
        """Whether the tensor's elements lie as the source's do."""
        own = [leaf for atoms in self.dimensions for atom in atoms for leaf in atom.leaves()]
        return own == [leaf for atom in self.order for leaf in atom.leaves()]


def _size(atoms: Sequence[_Atom]) -> Dim:
    return product([atom.size for atom in atoms])


def _overshoots(size: Dim, wanted: Dim) -> bool:
    return isinstance(size, int) and isinstance(wanted, int) and size > wanted


def _split(
    atom: _Atom, taken: Dim, wanted: Dim, following: Sequence[Dim]
) -> tuple[_Atom, list[_Atom]] | None:
    """Splits an atom so that its first part completes a dimension, if that is possible.

    Returns:
        What the dimension takes, and what is left for those after it.
    """
    if isinstance(atom.size, int):
        if not (isinstance(taken, int) and isinstance(wanted, int)) or wanted % taken:
            return None
        outer = wanted // taken
        if atom.size % outer:
            return None
        atom.parts = [_Atom(outer), _Atom(atom.size // outer)]
        return atom.parts[0], atom.parts[1:]
    if same_dimension(product([taken, atom.size]), wanted):
        return atom, []
    if taken != 1:
        # It may be one of several that make the dimension.
        return (atom, []) if not isinstance(wanted, int) else None
    sizes = [wanted]
    for size in following:
        if same_dimension(product(sizes), atom.size):
            break
        sizes.append(size)
    if len(sizes) == 1 or not same_dimension(product(sizes), atom.size):
        return (atom, []) if not isinstance(wanted, int) else None
    atom.parts = [_Atom(size) for size in sizes if size != 1]
    return atom.parts[0], atom.parts[1:]


@relax.expr_functor.mutator
class _Mover(relax.PyExprMutator):  # type: ignore[misc]
    """Rewrites transposes, from the network's inputs on."""

    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self._uses = count_uses(module["main"])

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        alone = self._is_alone(call)
        call = self.visit_expr_post_order(call)
        if not is_call(call, _TRANSPOSE, *_RESHAPES):
            return call
        vanished = self._as_reshape(call)
        if vanished is not None:
            return vanished
        moved = self._moved(call) if alone and is_call(call, _TRANSPOSE) else None
        return call if moved is None else moved

    def _is_alone(self, call: relax.Call) -> bool:
        """Whether nothing else reads what a call rearranges."""
        return bool(call.args) and self._uses[call.args[0]] == 1

    def _as_reshape(self, call: relax.Call) -> relax.Expr | None:
        """A chain of transposes and reshapes that ends in a call, where it is but a reshape."""
        chain, source = [call], call.args[0]
        while is_call(producer := self._producer(source), _TRANSPOSE, *_RESHAPES):
            chain.insert(0, producer)
            source = producer.args[0]
        shape = shape_of(call)
        for start, first in enumerate(chain):
            if start == len(chain) - 1 and not is_call(first, _TRANSPOSE):
                return None
            arrangement = _follow(shape_of(first.args[0]), chain[start:])
            if arrangement is not None and arrangement.in_order and shape is not None:
                return relax.op.reshape(first.args[0], shape_expr(shape))
        return None

    def _moved(self, call: relax.Call) -> relax.Expr | None:
        """A transpose of a concatenation or a resize as one of what these read."""
        axes, producer = _axes(call), self._producer(call.args[0])
        if is_call(producer, "relax.image.resize2d"):
            if tuple(axes) != NCHW_TO_NHWC or producer.attrs.layout != "NCHW":
                return None
            attrs = producer.attrs
            given = {
                name: getattr(attrs, name)
                for name in (
                    "method", "coordinate_transformation_mode", "rounding_method", "cubic_alpha",
                    "cubic_exclude", "extrapolation_value", "out_dtype",
                )
            }  # fmt: skip
            image = self.builder_.emit(self._rearranged(producer.args[0], axes))
            return relax.op.image.resize2d(
                image, producer.args[1], roi=list(attrs.roi), layout="NHWC", **given
            )
        if is_call(producer, "relax.concat"):
            fields = self._fields(producer.args[0])
            if fields is None:
                return None
            parts = [self._rearranged(field, axes) for field in fields]
            if all(is_call(part, _TRANSPOSE) for part in parts):
                return None
            parts = [self.builder_.emit(part) for part in parts]
            axis = int(producer.attrs.axis) % len(axes)
            return relax.op.concat(parts, axes.index(axis))
        return None

    def _rearranged(self, tensor: relax.Expr, axes: Sequence[int]) -> relax.Expr:
        """The transpose of a tensor, or what does without it."""
        call = self.builder_.normalize(relax.op.permute_dims(tensor, list(axes)))
        found = self._as_reshape(call)
        # A variable that this pass made is read where it was made.
        if found is None and self._uses.get(tensor, 1) == 1:
            found = self._moved(call)
        return call if found is None else found

    def _fields(self, tensors: relax.Expr) -> list[relax.Expr] | None:
        found = self.lookup_binding(tensors) if isinstance(tensors, relax.Var) else tensors
        return list(found.fields) if isinstance(found, relax.Tuple) else None

    def _producer(self, tensor: relax.Expr) -> Any:
        return self.lookup_binding(tensor) if isinstance(tensor, relax.Var) else None


def _axes(call: relax.Call) -> list[int]:
    rank = len(shape_of(call.args[0]) or ())
    axes = call.attrs.axes
    if axes is None:
        return list(reversed(range(rank)))
    return [int(axis) % rank for axis in axes]


def _follow(shape: Sequence[Dim] | None, chain: Sequence[relax.Call]) -> _Arrangement | None:
    """What becomes of a tensor's elements along a chain; None where that is not known."""
    if shape is None or 0 in [size for size in shape if isinstance(size, int)]:
        return None
    arrangement: _Arrangement | None = _Arrangement.of(shape)
    for call in chain:
        assert arrangement is not None
        if is_call(call, _TRANSPOSE):
            arrangement = arrangement.permuted(_axes(call))
            continue
        target = shape_of(call)
        arrangement = None if target is None else arrangement.reshaped(target)
        if arrangement is None:
            return None
    return arrangement


def move_transposes(module: tvm.IRModule) -> tvm.IRModule:
    """Returns the module with fewer transposes in ``main``, and these of less."""
    mover = _Mover(module)
    function = mover.visit_expr(module["main"])
    module = mover.builder_.get()
    module["main"] = function
    return relax.transform.DeadCodeElimination(["main"])(
        relax.transform.CanonicalizeBindings()(module)
    )
