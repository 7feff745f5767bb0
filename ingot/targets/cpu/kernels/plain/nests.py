"""Loop nests over flat memory: which axes there really are, and how each access moves along them.

What a tensor's shape says about the order of its elements, row-major strides say too. With accesses
as offsets into flat memory a reshape is nothing, axes that every access goes through in the same
stride are one axis, and a load's slope along an axis tells what a vector of it is: a splat (0), a
vector (1), or elements that lie apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, sym, tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.plain.chains import Chain, Part, Span, variables_of
from ingot.targets.cpu.kernels.plain.structure import Loop, element_count, loads_of, offset_of
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load
from ingot.targets.cpu.kernels.writing.rewriting import substitute


class FlatViews:
    """Views of compact buffers as one axis, each declared once."""

    def __init__(self, emitter: Emitter) -> None:
        """Declares views at the place where the emitter stands now."""
        self._emitter = emitter
        self._views: dict[tirx.Buffer, tirx.Buffer] = {}

    def of(self, buffer: tirx.Buffer) -> tirx.Buffer:
        """Returns the view of a buffer."""
        if buffer not in self._views:
            self.declare(buffer)
        return self._views[buffer]

    def allocate(self, buffer: tirx.Buffer) -> None:
        """Allocates scratch memory for a buffer here."""
        size = element_count(buffer.shape)
        dtype = str(buffer.ty.dtype)
        self._views[buffer] = self._emitter.allocate(buffer.name, [size], dtype)

    def declare(self, buffer: tirx.Buffer) -> None:
        """Declares the view of a buffer here."""
        size = element_count(buffer.shape)
        dtype = str(buffer.ty.dtype)
        view = tirx.decl_buffer([size], dtype, f"{buffer.name}_flat", data=buffer.data)
        self._emitter.emit(statements.DeclBuffer(view, data=buffer.data))
        self._views[buffer] = view


@dataclasses.dataclass(frozen=True)
class Nest:
    """A chain over axes, all its accesses flat.

    Attributes:
        loops: The axes of the result, outermost first.
        reduced: The axes that are reduced.
        chain: The expressions.
        offset: Where the values go, in the flat result.
    """

    loops: tuple[Loop, ...]
    reduced: tuple[Loop, ...]
    chain: Chain
    offset: tirx.Expr

    def loads(self) -> list[tirx.Expr]:
        """The loads, those in the indices of others included."""
        return [node for expression in self.chain.expressions for node in loads_of(expression)]

    def slopes(self, variable: tirx.Var) -> list[tirx.Expr | None]:
        """How far each load moves with a step along an axis; None where that is not constant."""
        return [slope(node.indices[0], variable) for node in self.loads()]


def flat_nest(
    part: Part,
    reduced: Sequence[Span],
    shape: Sequence[tirx.Expr],
    position: Sequence[tirx.Expr],
    views: FlatViews,
) -> Nest:
    """Makes the nest of a part of a tensor, its axes joined where that is possible.

    Args:
        part: The part; its spans are the tensor's axes, and those that are reduced.
        reduced: Those that are reduced.
        shape: The tensor's shape.
        position: The position in it of an element, in terms of the axes.
        views: Views of the buffers.
    """
    moved = {
        span.variable: span.variable + span.start for span in part.spans if not _is(span.start, 0)
    }
    single = {span.variable: index(0) for span in part.spans if _is(span.extent, 1)}
    analyzer = sym.Analyzer()
    for span in part.spans:
        analyzer.bind(span.variable, tvm.ir.Range.from_min_extent(index(0), span.extent))

    def place(expression: tirx.Expr) -> tirx.Expr:
        return substitute(substitute(expression, moved), single)

    offset = analyzer.simplify(place(offset_of(shape, position)))

    symbolic = any(not isinstance(span.extent, tirx.IntImm) for span in part.spans)

    def flatten(expression: tirx.Expr) -> tirx.Expr:
        def flat(node: tirx.Expr) -> tirx.Expr:
            if symbolic and _is_reshaped(node, shape, offset, analyzer):
                return load(views.of(node.source), offset)
            there = offset_of(node.source.shape, node.indices)
            return load(views.of(node.source), analyzer.simplify(there))

        return tvm_ffi.structural_map(place(expression), [(ir.TensorLoad, flat)])

    inner = {span.variable for span in reduced}
    loops = [Loop(span.variable, span.extent) for span in part.spans if span.variable not in single]
    nest = Nest(
        tuple(loop for loop in loops if loop.variable not in inner),
        tuple(loop for loop in loops if loop.variable in inner),
        part.chain.map(flatten),
        offset,
    )
    return _joined(nest)


def _is_reshaped(
    node: tirx.Expr, shape: Sequence[tirx.Expr], offset: tirx.Expr, analyzer: sym.Analyzer
) -> bool:
    """Whether a load is of the element at a flat offset, taken apart by the source's dimensions.

    TVM's simplifier finds so where dimensions are numbers, but not where they are symbolic.
    """
    if not analyzer.can_prove_equal(element_count(node.source.shape), element_count(shape)):
        return False
    rest = offset
    for size, at in zip(reversed(node.source.shape), reversed(node.indices), strict=True):
        expected = analyzer.simplify(tirx.floormod(rest, size))
        if not tvm_ffi.structural_equal(expected, analyzer.simplify(at)):
            return False
        rest = tirx.floordiv(rest, size)
    return True


def _is(expression: tirx.Expr, value: int) -> bool:
    return isinstance(expression, tirx.IntImm) and int(expression.value) == value


def slope(offset: tirx.Expr, variable: tirx.Var) -> tirx.Expr | None:
    """How far an offset moves with a step along an axis; None where that is not constant."""
    if not any(variable.same_as(other) for other in variables_of(offset)):
        return index(0)
    if any(variable.same_as(other) for node in loads_of(offset) for other in variables_of(node)):
        return None
    terms = sym.detect_linear_equation(offset, [variable])
    return sym.Analyzer().simplify(terms[0]) if len(terms) == 2 else None


def is_slope(value: tirx.Expr | None, expected: int) -> bool:
    """Whether a slope is a certain number."""
    return value is not None and _is(value, expected)


def _joined(nest: Nest) -> Nest:
    """Joins neighbouring axes that each access goes through as if they were one."""
    offsets, rest = _separate(nest)
    gone: dict[tirx.Var, tirx.Expr] = {}
    groups: list[tuple[Loop, ...]] = []
    for loops in (nest.loops, nest.reduced):
        kept: list[Loop] = []
        for loop in reversed(loops):
            inner = kept[0] if kept else None
            if inner is not None and _are_one(loop, inner, offsets, rest):
                # The inner variable runs through both; the outer one is no longer needed.
                gone[loop.variable] = index(0)
                extent = sym.Analyzer().simplify(loop.extent * inner.extent)
                kept[0] = Loop(inner.variable, extent)
            else:
                kept.insert(0, loop)
        groups.append(tuple(kept))
    if not gone:
        return nest
    analyzer = sym.Analyzer()

    def without(expression: tirx.Expr) -> tirx.Expr:
        def simplified(node: tirx.Expr) -> tirx.Expr:
            return load(node.source, analyzer.simplify(node.indices[0]))

        return tvm_ffi.structural_map(substitute(expression, gone), [(ir.TensorLoad, simplified)])

    return Nest(
        groups[0],
        groups[1],
        nest.chain.map(without),
        analyzer.simplify(substitute(nest.offset, gone)),
    )


def _are_one(outer: Loop, inner: Loop, offsets: Sequence[tirx.Expr], rest: set[tirx.Var]) -> bool:
    if outer.variable in rest or inner.variable in rest:
        return False
    analyzer = sym.Analyzer()
    for offset in offsets:
        far, near = slope(offset, outer.variable), slope(offset, inner.variable)
        if far is None or near is None:
            return False
        if not analyzer.can_prove_equal(far, near * inner.extent):
            return False
    return True


def _separate(nest: Nest) -> tuple[list[tirx.Expr], set[tirx.Var]]:
    """The offsets of all accesses, and the variables that are used for more than offsets.

    In an offset that depends on another load, the load is one unknown number.
    """
    offsets = [nest.offset]

    def take(node: tirx.Expr, mutator: Any) -> tirx.Expr:
        offsets.append(mutator.mutate(node.indices[0]))
        return tirx.Var("loaded", node.ty)

    used: set[tirx.Var] = set()
    for expression in nest.chain.expressions:
        stripped = tvm_ffi.structural_mutate(expression, [(ir.TensorLoad, take)])
        used |= set(variables_of(stripped))
    return offsets, used
