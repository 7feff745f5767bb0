"""Prim funcs that no kernel of its own takes: which tensors exist, and the order to fill them in.

A tensor in between is computed where it is read, unless that would compute its elements again and
again: then it gets scratch memory. The element-wise operators behind a reduction are done where its
result is stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tvm_ffi
from tvm import ir, sym, tirx

from ingot.targets.cpu.kernels.plain.chains import (
    Chain,
    Inliner,
    Part,
    Span,
    periods_apart,
    split,
    variables_of,
)
from ingot.targets.cpu.kernels.plain.elementwise import vector_lanes, write_elements
from ingot.targets.cpu.kernels.plain.movement import find_turn, write_turned
from ingot.targets.cpu.kernels.plain.nests import FlatViews, flat_nest
from ingot.targets.cpu.kernels.plain.reduction import Reduction, write_reduction
from ingot.targets.cpu.kernels.plain.structure import (
    Block,
    Loop,
    Plain,
    element_count,
    loads_of,
    read_function,
)
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, prim_func
from ingot.targets.cpu.kernels.writing.rewriting import rewrite_loads, substitute
from ingot.targets.cpu.machine import CpuDescription

# How often each element of a tensor may be computed for it not to be stored.
_MOST_TIMES = 2
# Of a symbolic dimension: so that products of several stay within 64 bits.
_LARGEST_SIZE = 1 << 20


def write_plain(function: tirx.PrimFunc, cpu: CpuDescription) -> tirx.PrimFunc:
    """Writes the code of a prim func that TVM legalized.

    Raises:
        NotPlainError: It is not made of blocks as TVM's legalization writes them.
    """
    plain = read_function(function)
    emitter = Emitter()
    write_blocks(emitter, plain, cpu)
    return prim_func(plain.parameters, emitter.body())


def write_blocks(emitter: Emitter, plain: Plain, cpu: CpuDescription) -> None:
    """Writes the code of blocks, their tensors in between allocated as far as they exist."""
    inlined = _inlined(plain)
    inliner = Inliner(inlined)
    roots = [block for block in plain.blocks if not _is_inlined(block, inlined)]
    fused: dict[str, Block] = {}
    chains = {
        root.name: inliner.chain(root.values, root.axes) for root in roots if not root.reduced
    }
    for root in roots:
        finish = _finish_of(root, roots, chains, plain) if root.reduced else None
        if finish is not None:
            fused[finish.name] = root
    views = FlatViews(emitter)
    for parameter in plain.parameters:
        if not isinstance(parameter.ty, ir.PrimType):
            views.declare(parameter)
    delayed = {root.name for root in fused.values()}
    for root in roots:
        if root.name in delayed:
            continue
        for target in root.targets:
            if not plain.is_parameter(target):
                views.allocate(target)
        if root.name in fused:
            _write_reduction(emitter, fused[root.name], root, inliner, chains, views, cpu)
        elif root.reduced:
            _write_reduction(emitter, root, None, inliner, chains, views, cpu)
        else:
            _write_elements(emitter, root, chains[root.name], views, cpu)


def _is_inlined(block: Block, inlined: dict[tirx.Buffer, Block]) -> bool:
    return any(block is other for other in inlined.values())


def _inlined(plain: Plain) -> dict[tirx.Buffer, Block]:
    """Chooses the tensors that are computed where they are read.

    Goes from the last block to the first, and counts how often elements of each would be computed.
    """
    times: dict[str, tirx.Expr] = {}
    inlined: dict[tirx.Buffer, Block] = {}
    for block in reversed(plain.blocks):
        axes = (*block.axes, *block.reduced)
        volume = element_count([axis.extent for axis in axes])
        times[block.name] = volume
        if block.reduced or len(block.targets) > 1 or plain.is_parameter(block.target):
            continue
        computed: tirx.Expr = index(0)
        for reader in plain.blocks:
            for _ in range(_places_read(reader, block.target)):
                computed = computed + times[reader.name]
        few = _of_sizes(computed).can_prove(computed <= volume * index(_MOST_TIMES))
        if few or not _computes(block.value):
            inlined[block.target] = block
            times[block.name] = sym.Analyzer().simplify(computed)
    return inlined


def _of_sizes(expression: tirx.Expr) -> sym.Analyzer:
    """Returns an analyzer that knows an expression's variables to be sizes."""
    analyzer = sym.Analyzer()
    for variable in variables_of(expression):
        analyzer.bind(variable, ir.Range.from_min_extent(index(0), index(_LARGEST_SIZE)))
    return analyzer


def _places_read(reader: Block, buffer: tirx.Buffer) -> int:
    """How many different elements of a tensor a block reads for one of its own."""
    return len(
        {
            tuple(tvm_ffi.StructuralKey(at) for at in node.indices)
            for value in reader.values
            for node in loads_of(value)
            if node.source.same_as(buffer)
        }
    )


def _computes(value: tirx.Expr) -> bool:
    """Whether an expression does more than move what it loads."""
    found: list[object] = []

    def visit(node: object) -> None:
        found.append(node)

    kinds = (ir.Call, tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Cast, tirx.Select, tirx.Max)
    moved = rewrite_loads(value, lambda node: tirx.Var("loaded", node.ty))
    tvm_ffi.structural_walk(moved, (kinds, visit))
    return any(not _chooses(node) for node in found)


def _chooses(node: object) -> bool:
    return isinstance(node, ir.Call) and getattr(node.op, "name", "").endswith("if_then_else")


def _write_elements(
    emitter: Emitter, block: Block, chain: Chain, views: FlatViews, cpu: CpuDescription
) -> None:
    targets = [views.of(target) for target in block.targets]
    domain = periods_apart(chain, block.axes)
    for part in split(domain.chain, domain.axes):
        nest = flat_nest(part, (), block.targets[0].shape, domain.place, views)
        turn = find_turn(nest, cpu)
        if turn is None or vector_lanes(nest, cpu) < cpu.float_lanes:
            write_elements(emitter, nest, targets, cpu)
        else:
            write_turned(emitter, nest, turn, targets, cpu)


def _finish_of(
    reduction: Block, roots: Sequence[Block], chains: dict[str, Chain], plain: Plain
) -> Block | None:
    """Returns the block that alone reads a reduction's results, each where it is stored."""
    if any(plain.is_parameter(target) for target in reduction.targets):
        return None
    readers = [
        root
        for root in roots
        if root is not reduction
        and any(_reads_any(value, reduction.targets) for value in _values(root, chains))
    ]
    if len(readers) != 1 or readers[0].reduced:
        return None
    reader = readers[0]
    own, theirs = _not_single(reader.axes), _not_single(reduction.axes)
    if len(own) != len(theirs) or not all(
        sym.Analyzer().can_prove_equal(a.extent, b.extent) for a, b in zip(own, theirs, strict=True)
    ):
        return None
    for expression in chains[reader.name].expressions:
        for node in loads_of(expression):
            if any(node.source.same_as(target) for target in reduction.targets):
                place = [
                    at
                    for at, axis in zip(node.indices, reduction.axes, strict=True)
                    if axis.size != 1
                ]
                if not all(a.same_as(b.variable) for a, b in zip(place, own, strict=True)):
                    return None
    return reader


def _values(root: Block, chains: dict[str, Chain]) -> Sequence[tirx.Expr]:
    return chains[root.name].expressions if root.name in chains else root.values


def _reads_any(expression: tirx.Expr, buffers: Sequence[tirx.Buffer]) -> bool:
    return any(node.source.same_as(buffer) for node in loads_of(expression) for buffer in buffers)


def _not_single(axes: Sequence[Loop]) -> list[Loop]:
    return [axis for axis in axes if axis.size != 1]


def _write_reduction(
    emitter: Emitter,
    block: Block,
    finish: Block | None,
    inliner: Inliner,
    chains: dict[str, Chain],
    views: FlatViews,
    cpu: CpuDescription,
) -> None:
    running = _stand_ins(block, "running")
    results = _stand_ins(block, "reduced")
    axes = (*block.axes, *block.reduced)
    updates = inliner.chain([_replaced(value, block, running) for value in block.values], axes)
    place: Sequence[tirx.Expr] = [axis.variable for axis in block.axes]
    stored, targets = Chain((), results), block.targets
    if finish is not None:
        own = {axis.variable: index(0) for axis in finish.axes}
        pairs = zip(_not_single(finish.axes), _not_single(block.axes), strict=True)
        own.update({mine.variable: theirs.variable for mine, theirs in pairs})
        stored = chains[finish.name].map(
            lambda value: substitute(_replaced(value, block, results), own)
        )
        targets = finish.targets
        place = [own[axis.variable] for axis in finish.axes]
    spans = [Span(axis.variable, index(0), axis.extent) for axis in axes]
    both = Chain((*updates.steps, *stored.steps), (*updates.values, *stored.values))
    nest = flat_nest(
        Part(tuple(spans), both), spans[len(block.axes) :], targets[0].shape, place, views
    )
    steps, values = len(updates.steps), len(updates.values)
    update = Chain(nest.chain.steps[:steps], nest.chain.values[:values])
    after = Chain(nest.chain.steps[steps:], nest.chain.values[values:])
    write_reduction(
        emitter,
        Reduction(
            dataclasses.replace(nest, chain=update),
            running,
            block.initial,
            after,
            results,
            tuple(views.of(target) for target in targets),
        ),
        cpu,
    )


def _stand_ins(block: Block, name: str) -> tuple[tirx.Var, ...]:
    return tuple(tirx.Var(name, initial.ty) for initial in block.initial)


def _replaced(value: tirx.Expr, block: Block, stand_ins: Sequence[tirx.Var]) -> tirx.Expr:
    """Puts variables in place of the loads of what a block reduces."""

    def replace(node: tirx.Expr) -> tirx.Expr:
        for target, variable in zip(block.targets, stand_ins, strict=True):
            if node.source.same_as(target):
                return variable
        return node

    return rewrite_loads(value, replace)
