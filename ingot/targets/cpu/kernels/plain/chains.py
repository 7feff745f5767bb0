"""What an element is computed from: other blocks' values in place of the tensors that they fill.

A tensor that is read where it was computed need not exist. Its value is written into each
expression that reads it, at the place that is read: a chain of element-wise operators, reshapes,
transposes and slices becomes one expression of a position. A value that several expressions need at
the same place is a step of its own, computed once.

An expression that chooses by position, a concatenation or a padding, is split: in each part of the
position's domain the choice is made already, and what is left is a plain copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, sym, tirx

from ingot.targets.cpu.floats import bindable
from ingot.targets.cpu.kernels.plain.structure import Block, Loop, loads_of
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load
from ingot.targets.cpu.kernels.writing.rewriting import substitute
from ingot.targets.cpu.let_bindings import EVALUATED_ONLY_IF

# More parts than this are not worth their code.
_MOST_PARTS = 32
# Elements of the widest vectors of float32: loads that recur more often than that are no vectors
# along the inner of two axes either.
_LONG_PERIOD = 16
_COMPARISONS = (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)


@dataclasses.dataclass(frozen=True)
class Chain:
    """An expression of a position, with what it needs more than once computed before.

    Attributes:
        steps: Values in the order in which they are computed, each with what stands for it.
        values: What is stored, one per tensor; they may refer to the steps.
    """

    steps: tuple[tuple[tirx.Var, tirx.Expr], ...]
    values: tuple[tirx.Expr, ...]

    @property
    def expressions(self) -> tuple[tirx.Expr, ...]:
        """The steps' expressions and the values."""
        return (*(expression for _, expression in self.steps), *self.values)

    def map(self, function: Any) -> Chain:
        """Returns the chain with each expression replaced by what a function makes of it."""
        steps = tuple((variable, function(expression)) for variable, expression in self.steps)
        return Chain(steps, tuple(function(value) for value in self.values))

    def without_unused(self) -> Chain:
        """Returns the chain without steps that nothing refers to."""
        used = {variable for value in self.values for variable in variables_of(value)}
        steps: list[tuple[tirx.Var, tirx.Expr]] = []
        for variable, expression in reversed(self.steps):
            if variable in used:
                steps.insert(0, (variable, expression))
                used |= set(variables_of(expression))
        return Chain(tuple(steps), self.values)

    def emit(self, emitter: Emitter, known: Mapping[tirx.Var, tirx.Expr]) -> list[tirx.Expr]:
        """Emits the steps; returns the values, with variables replaced by what is known of them."""
        known = dict(known)
        for variable, expression in self.steps:
            value = substitute(expression, known)
            # TVM's analyzer knows no variables that are vectors of truths.
            is_truth = str(variable.ty.dtype) == "bool"
            known[variable] = value if is_truth else emitter.bind(variable.name, bindable(value))
        return [substitute(value, known) for value in self.values]


def variables_of(expression: tirx.Expr) -> list[tirx.Var]:
    """The variables that an expression refers to, buffers left out."""
    return [
        variable
        for variable in tirx.analysis.undefined_vars(expression)
        if isinstance(variable.ty, ir.PrimType)
    ]


def ranges(axes: Iterable[Loop]) -> sym.Analyzer:
    """Returns an analyzer that knows the axes' ranges."""
    analyzer = sym.Analyzer()
    for axis in axes:
        analyzer.bind(axis.variable, tvm.ir.Range.from_min_extent(index(0), axis.extent))
    return analyzer


class Inliner:
    """Writes blocks' values in place of loads from the tensors that they fill."""

    def __init__(self, blocks: Mapping[tirx.Buffer, Block]) -> None:
        """Takes the blocks that are to be inlined, by tensor; none of them reduces."""
        self._blocks = blocks

    def chain(self, values: Sequence[tirx.Expr], axes: Sequence[Loop]) -> Chain:
        """Returns the chain of values that are computed for all positions along axes."""
        return _Inlining(self._blocks, ranges(axes)).chain(values)


class _Inlining:
    def __init__(self, blocks: Mapping[tirx.Buffer, Block], analyzer: sym.Analyzer) -> None:
        self._blocks, self._analyzer = blocks, analyzer
        self._steps: list[tuple[tirx.Var, tirx.Expr]] = []
        self._known: dict[Any, tirx.Expr] = {}
        # Within a branch that may not be taken: what it reads there may not exist otherwise.
        self._branches = 0

    def chain(self, values: Sequence[tirx.Expr]) -> Chain:
        expanded = tuple(self._expand(value) for value in values)
        return Chain(tuple(self._steps), expanded).without_unused()

    def _expand(self, expression: tirx.Expr) -> tirx.Expr:
        return tvm_ffi.structural_mutate(
            expression, [(ir.TensorLoad, self._load), (ir.Call, self._call)]
        )

    def _call(self, node: ir.Call, mutator: Any) -> tirx.Expr:
        if getattr(node.op, "name", "") != EVALUATED_ONLY_IF:
            return mutator.default_mutate(node)
        condition = mutator.mutate(node.args[0])
        self._branches += 1
        branches = [mutator.mutate(branch) for branch in node.args[1:]]
        self._branches -= 1
        return tirx.if_then_else(condition, *branches)

    def _load(self, node: tirx.Expr, mutator: Any) -> tirx.Expr:
        place = [self._analyzer.simplify(mutator.mutate(at)) for at in node.indices]
        block = self._blocks.get(node.source)
        if block is None:
            return load(node.source, *place)
        if self._branches:
            return self._expand(block.at(place))
        key = (node.source, tuple(tvm_ffi.StructuralKey(at) for at in place))
        if key not in self._known:
            value = self._expand(block.at(place))
            if not isinstance(value, (ir.Var, tirx.IntImm, tirx.FloatImm)):
                variable = tirx.Var(node.source.name, value.ty)
                self._steps.append((variable, value))
                value = variable
            self._known[key] = value
        return self._known[key]


@dataclasses.dataclass(frozen=True)
class Span:
    """A part of an axis.

    Attributes:
        variable: The axis.
        start: Its first position.
        extent: Number of positions.
    """

    variable: tirx.Var
    start: tirx.Expr
    extent: tirx.Expr


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a chain's domain, and the chain as it is there."""

    spans: tuple[Span, ...]
    chain: Chain


@dataclasses.dataclass(frozen=True)
class Domain:
    """A chain over axes, and where its values go.

    Attributes:
        axes: The axes.
        chain: The expressions of a position.
        place: The position in the tensors that are written, in terms of the axes.
    """

    axes: tuple[Loop, ...]
    chain: Chain
    place: tuple[tirx.Expr, ...]


def periods_apart(chain: Chain, axes: Sequence[Loop]) -> Domain:
    """Cuts an axis in two where a choice, or the place of a load, recurs along it.

    Heads that are concatenated of two halves and then joined choose by the position within a head:
    with the head as an axis of its own, the choice has one threshold (see ``split``). A transpose
    whose rows are joined reads by the position within a row: with the row as an axis of its own,
    places move evenly along each axis.
    """
    domain = Domain(tuple(axes), chain, tuple(axis.variable for axis in axes))
    while (found := _first_period(domain)) is not None:
        domain = _cut(domain, *found)
    return domain


def _first_period(domain: Domain) -> tuple[int, int] | None:
    """Finds the number of an axis, and the period of a comparison or of a load along it."""
    numbers = {
        axis.variable: number
        for number, axis in enumerate(domain.axes)
        if str(axis.variable.ty.dtype) == "int64"  # as Relax's are
    }
    remainders: list[tirx.Expr] = []
    for comparison in _comparisons(domain.chain):
        tvm_ffi.structural_walk(comparison, (tirx.FloorMod, remainders.append))
    for expression in domain.chain.expressions:
        for node in loads_of(expression):
            found: list[tirx.Expr] = []
            for place in node.indices:
                tvm_ffi.structural_walk(place, (tirx.FloorMod, found.append))
            remainders += [each for each in found if _is_long(each.b)]
    for remainder in remainders:
        number, period = numbers.get(remainder.a), remainder.b
        if number is None or not isinstance(period, tirx.IntImm):
            continue
        size = domain.axes[number].size
        if size is not None and size > int(period.value) and size % int(period.value) == 0:
            return number, int(period.value)
    return None


def _is_long(period: tirx.Expr) -> bool:
    """Whether a period has room for whole vectors."""
    return isinstance(period, tirx.IntImm) and int(period.value) >= _LONG_PERIOD


def _cut(domain: Domain, number: int, period: int) -> Domain:
    axis = domain.axes[number]
    outer = Loop(tirx.Var(f"{axis.variable.name}_outer", "int64"), axis.extent // index(period))
    inner = Loop(tirx.Var(axis.variable.name, "int64"), index(period))
    axes = (*domain.axes[:number], outer, inner, *domain.axes[number + 1 :])
    analyzer = ranges(axes)
    position = {axis.variable: outer.variable * index(period) + inner.variable}

    def moved(expression: tirx.Expr) -> tirx.Expr:
        # Only positions are simplified: the simplifier takes floats for real numbers.
        return tvm_ffi.structural_map(
            substitute(expression, position),
            [
                (ir.TensorLoad, lambda node: load(node.source, *map(analyzer.simplify,
                                                                    node.indices))),
                (_COMPARISONS, lambda node: analyzer.simplify(node) if _of_positions(node)
                 else node),
            ],
        )  # fmt: skip

    place = tuple(analyzer.simplify(substitute(at, position)) for at in domain.place)
    return Domain(axes, domain.chain.map(moved), place)


def _comparisons(chain: Chain) -> list[tirx.Expr]:
    """The comparisons of positions that a chain makes."""
    found: list[tirx.Expr] = []
    for expression in chain.expressions:
        tvm_ffi.structural_walk(expression, (_COMPARISONS, found.append))
    return [comparison for comparison in found if _of_positions(comparison)]


def _of_positions(comparison: tirx.Expr) -> bool:
    return str(comparison.a.ty.dtype).startswith("int") and not loads_of(comparison)


def split(chain: Chain, axes: Sequence[Loop]) -> list[Part]:
    """Splits a domain so that comparisons of positions with constants are decided in each part."""
    whole = Part(tuple(Span(axis.variable, index(0), axis.extent) for axis in axes), chain)
    parts = list(_split(whole))
    return parts if len(parts) <= _MOST_PARTS else [whole]


def _split(part: Part) -> Iterator[Part]:
    found = _first_threshold(part)
    if found is None:
        yield Part(part.spans, part.chain.without_unused())
        return
    comparison, number, threshold, below = found
    span = part.spans[number]
    end = span.start + span.extent
    middle = tirx.Max(tirx.Min(threshold, end), span.start)
    for start, stop, truth in ((span.start, middle, below), (middle, end, not below)):
        extent = sym.Analyzer().simplify(stop - start)
        if isinstance(extent, tirx.IntImm) and int(extent.value) == 0:
            continue
        start = sym.Analyzer().simplify(start)
        spans = list(part.spans)
        spans[number] = dataclasses.replace(span, start=start, extent=extent)
        chain = part.chain.map(_Decision(comparison, truth).apply)
        yield from _split(Part(tuple(spans), chain))


def _first_threshold(part: Part) -> tuple[tirx.Expr, int, tirx.Expr, bool] | None:
    """Finds a comparison that changes its truth at a position along one axis.

    Returns:
        The comparison, the number of the axis, the first position after the change, and what the
        comparison is before it.
    """
    numbers = {span.variable: number for number, span in enumerate(part.spans)}
    for comparison in _comparisons(part.chain):
        axes = [variable for variable in variables_of(comparison) if variable in numbers]
        if len(axes) != 1 or isinstance(comparison, (tirx.EQ, tirx.NE)):
            continue
        difference = sym.Analyzer().simplify(comparison.a - comparison.b).astype("int64")
        terms = sym.detect_linear_equation(difference, [axes[0]])
        if len(terms) != 2 or not isinstance(terms[0], tirx.IntImm):
            continue
        slope, rest = int(terms[0].value), terms[1]
        if abs(slope) != 1:
            continue
        zero = sym.Analyzer().simplify(rest * -slope)  # where the difference is zero
        # With a positive slope the difference is below zero before it, and zero at it.
        at_zero = isinstance(comparison, (tirx.LE, tirx.GE))
        less = isinstance(comparison, (tirx.LT, tirx.LE))
        below = less == (slope > 0)
        threshold = zero + index(int(at_zero == below))
        return comparison, numbers[axes[0]], sym.Analyzer().simplify(threshold), below
    return None


class _Decision:
    """Puts the truth in place of a comparison and drops the branches that are not taken."""

    def __init__(self, comparison: tirx.Expr, truth: bool) -> None:
        self._comparison, self._truth = comparison, tirx.const(truth, "bool")

    def apply(self, expression: tirx.Expr) -> tirx.Expr:
        return tvm_ffi.structural_map(
            expression,
            [
                (_COMPARISONS, self._decide),
                (tirx.And, lambda node: _junction(node, absorbing=False)),
                (tirx.Or, lambda node: _junction(node, absorbing=True)),
                (tirx.Not, _negation),
                (tirx.Select, lambda node: _choice(node, node.condition, node.true_value,
                                                   node.false_value)),
                (ir.Call, lambda node: _choice(node, *node.args) if _is_choice(node) else node),
            ],
        )  # fmt: skip

    def _decide(self, node: tirx.Expr) -> tirx.Expr:
        return self._truth if tvm_ffi.structural_equal(node, self._comparison) else node


def _is_choice(node: ir.Call) -> bool:
    return getattr(node.op, "name", "") == EVALUATED_ONLY_IF


def _choice(
    node: tirx.Expr, condition: tirx.Expr, when_true: tirx.Expr, when_false: tirx.Expr
) -> tirx.Expr:
    if not isinstance(condition, tirx.IntImm):
        return node
    return when_true if condition.value else when_false


def _junction(node: tirx.Expr, *, absorbing: bool) -> tirx.Expr:
    for side, other in ((node.a, node.b), (node.b, node.a)):
        if isinstance(side, tirx.IntImm):
            return side if bool(side.value) == absorbing else other
    return node


def _negation(node: tirx.Not) -> tirx.Expr:
    return tirx.const(not node.a.value, "bool") if isinstance(node.a, tirx.IntImm) else node
