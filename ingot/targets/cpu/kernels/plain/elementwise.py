"""Blocks whose elements are computed one by one, at the speed of memory.

The innermost axis goes in vectors, several at a time where the expression leaves the registers for
it: then the loop is bound by loads and stores. What no vector width divides ends with one more
vector that overlaps the one before: elements are computed by themselves, so that computing a few
again is harmless and quicker than going through them singly. Outer axes are shared by the threads,
in neighbouring parts; small tensors stay with the thread that has them in its cache.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import tvm_ffi
from tvm import ir, sym, tirx

from ingot.targets.cpu.floats import MAXIMUM, MINIMUM, OPAQUE
from ingot.targets.cpu.kernels.plain.nests import Nest
from ingot.targets.cpu.kernels.plain.structure import Loop, loads_of
from ingot.targets.cpu.kernels.writing.emission import Emitter, index
from ingot.targets.cpu.kernels.writing.rewriting import substitute
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.let_bindings import EVALUATED_ONLY_IF
from ingot.targets.cpu.machine import CpuDescription

Known = Mapping[tirx.Var, tirx.Expr]

# Tasks that a loop is cut into at most: enough to be shared evenly, few enough to stay coarse.
_TASKS = 64
# What things take, in operations at the rate of multiply-adds: a function is some twenty
# multiply-adds and more of what only one unit does, a division keeps its unit for several cycles.
_WORK_OF_A_FUNCTION = 64
_WORK_OF_A_DIVISION = 16
_MOST_VECTORS_AT_A_TIME = 4
_NO_FUNCTIONS = (EVALUATED_ONLY_IF, OPAQUE, MAXIMUM, MINIMUM)


def write_elements(
    emitter: Emitter, nest: Nest, targets: Sequence[tirx.Buffer], cpu: CpuDescription
) -> None:
    """Writes the loops of a nest that reduces nothing.

    Args:
        emitter: Where the statements go.
        nest: The nest.
        targets: Flat views of the tensors that its values go to.
        cpu: The processor.
    """
    nest = with_selects(nest)
    if not nest.loops:
        store_values(emitter, nest, targets, {})
        return
    *outer, inner = nest.loops
    lanes = vector_lanes(nest, cpu)

    def vector(known: Known, at: tirx.Expr, count: int) -> None:
        with emitter.vectorized(count) as lane:
            store_values(emitter, nest, targets, {**known, inner.variable: at + lane})

    row = Row(emitter, inner.extent, lanes, lanes * _vectors_at_a_time(nest))
    share_rows(emitter, outer, row, element_work(nest, cpu), vector, cpu)


def share_rows(
    emitter: Emitter,
    outer: Sequence[Loop],
    row: Row,
    work: int | tirx.Expr,
    vector: Callable[[Known, tirx.Expr, int], None],
    cpu: CpuDescription,
) -> None:
    """Shares rows among the threads, or parts of rows where there are few.

    Args:
        emitter: Where the statements go.
        outer: The axes around the rows, outermost first.
        row: The rows.
        work: Operations for an element, or what takes as long.
        vector: Emits the code for elements of a row: at a position, from which so many follow.
        cpu: The processor.
    """
    whole = volume(outer) * row.size * work
    if _are_few(outer) and not (isinstance(whole, int) and whole < cpu.launch_operations):
        _write_parts_of_rows(emitter, outer, row, whole, vector, cpu)
        return
    share_nest(
        emitter,
        outer,
        whole,
        lambda known: row.each(functools.partial(vector, known)),
        cpu,
    )


def store_values(
    emitter: Emitter, nest: Nest, targets: Sequence[tirx.Buffer], known: Known
) -> None:
    """Stores the values of one position, or of one in each lane of an open vector loop."""
    offset = substitute(nest.offset, known)
    for target, value in zip(targets, nest.chain.emit(emitter, known), strict=True):
        emitter.store(target, value, [offset])


class Row:
    """A stretch of elements, gone through in vectors."""

    def __init__(
        self, emitter: Emitter, extent: tirx.Expr, lanes: int, group: int, *, again: bool = True
    ) -> None:
        """Describes a stretch.

        Args:
            emitter: Where the statements go.
            extent: Number of elements.
            lanes: Elements of a vector.
            group: Elements of the vectors that go at a time.
            again: Whether elements may be gone through twice.
        """
        self.emitter, self.extent, self.lanes, self.group = emitter, extent, lanes, group
        self._again = again
        self._size = int(extent.value) if isinstance(extent, tirx.IntImm) else None

    @property
    def size(self) -> int | tirx.Expr:
        """Number of elements; an int where it is known."""
        return self.extent if self._size is None else self._size

    @property
    def groups(self) -> int | tirx.Expr:
        """Number of whole groups."""
        if self._size is not None:
            return self._size // self.group
        return sym.Analyzer().simplify(self.extent // index(self.group))

    def each(self, action: Callable[[tirx.Expr, int], None]) -> None:
        """Goes through all elements: an action takes a position and how many follow from there."""
        self.in_groups(0, self.groups, action)
        self.rest(action)

    def in_groups(
        self,
        first: int | tirx.Expr,
        last: int | tirx.Expr,
        action: Callable[[tirx.Expr, int], None],
    ) -> None:
        """Goes through the whole groups ``first … last - 1``."""
        count = last - first
        if isinstance(count, int) and count == 0:
            return
        with self.emitter.loop(count, "group", start=first) as number:
            action(number * index(self.group), self.group)

    def rest(self, action: Callable[[tirx.Expr, int], None]) -> None:
        """Goes through what is left behind the whole groups."""
        if self._size is None:
            self._symbolic_rest(action)
            return
        at = self._size // self.group * self.group
        lanes = self.lanes
        while at < self._size:
            left = self._size - at
            if left >= lanes:
                action(index(at), lanes)
                at += lanes
            elif self._again and self._size >= self.lanes:
                action(index(self._size - self.lanes), self.lanes)
                return
            else:
                lanes //= 2

    def _symbolic_rest(self, action: Callable[[tirx.Expr, int], None]) -> None:
        emitter, lanes = self.emitter, index(self.lanes)
        start = self.groups * index(self.group)
        vectors = (self.extent - start) // lanes
        if self.group > self.lanes:
            with emitter.loop(vectors, "vector") as number:
                action(start + number * lanes, self.lanes)
        left = self.extent % lanes
        end = self.extent - left
        if not self._again:
            with emitter.loop(left, "single", start=end) as at:
                action(at, 1)
            return
        with emitter.when(tirx.all(left > 0, self.extent >= lanes)):
            action(self.extent - lanes, self.lanes)
        with (
            emitter.when(self.extent < lanes),
            emitter.loop(self.extent, "single") as at,
        ):
            action(at, 1)


def _are_few(outer: Sequence[Loop]) -> bool:
    """Whether the outer axes alone may be too few to share."""
    sizes = [loop.size for loop in outer]
    return None in sizes or math.prod(size or 0 for size in sizes) < _TASKS // 4


def _write_parts_of_rows(
    emitter: Emitter,
    outer: Sequence[Loop],
    row: Row,
    whole: int | tirx.Expr,
    vector: Callable[[Known, tirx.Expr, int], None],
    cpu: CpuDescription,
) -> None:
    """Cuts rows into parts for the threads: of whole groups, and what is left with the last."""
    rows, groups = volume(outer), row.groups
    units: int | tirx.Expr = groups + 1
    if isinstance(groups, int) and isinstance(row.size, int):
        units = groups + bool(row.size % row.group)
    parts = max(1, _TASKS // rows) if isinstance(rows, int) else _TASKS
    if isinstance(units, int):
        parts = min(parts, units)

    def part_of_a_row(number: tirx.Expr) -> None:
        known = decode(emitter, number // index(parts), outer)
        number = number % index(parts)
        first = emitter.bind("first", number * index(units) // index(parts))
        last = emitter.bind("last", (number + 1) * index(units) // index(parts))
        action = functools.partial(vector, known)
        row.in_groups(first, tirx.Min(last, index(groups)), action)
        with emitter.when(last > index(groups)):
            row.rest(action)

    if isinstance(whole, int):
        with emitter.parallel(rows * parts, "task") as task:
            part_of_a_row(task)
        return
    with (
        emitter.when(index(whole) >= cpu.launch_operations),
        emitter.parallel(rows * parts, "task") as task,
    ):
        part_of_a_row(task)
    with emitter.when(index(whole) < cpu.launch_operations), nested(emitter, outer) as known:
        row.each(functools.partial(vector, known))


@contextlib.contextmanager
def nested(emitter: Emitter, loops: Sequence[Loop]) -> Iterator[dict[tirx.Var, tirx.Expr]]:
    """Opens serial loops over axes, outermost first; yields what is known of their variables."""
    with contextlib.ExitStack() as stack:
        yield {
            loop.variable: stack.enter_context(
                emitter.loop(loop.extent if loop.size is None else loop.size, loop.variable.name)
            )
            for loop in loops
        }


def share_nest(
    emitter: Emitter,
    loops: Sequence[Loop],
    work: int | tirx.Expr,
    body: Callable[[dict[tirx.Var, tirx.Expr]], None],
    cpu: CpuDescription,
) -> None:
    """Shares the outermost axes' positions among the threads, the other axes as loops inside.

    Args:
        emitter: Where the statements go.
        loops: The axes, outermost first.
        work: Operations of all together, or what takes as long.
        body: Emits the code of a position; called once or twice.
        cpu: The processor.
    """
    shared = 0
    units: int | tirx.Expr = 1
    while shared < len(loops) and not (isinstance(units, int) and units >= _TASKS):
        units = volume(loops[: shared + 1])
        shared += 1
    if isinstance(work, int) and work < cpu.launch_operations:
        with nested(emitter, loops) as known:
            body(known)
        return

    def task(number: tirx.Expr) -> None:
        known = decode(emitter, number, loops[:shared])
        with nested(emitter, loops[shared:]) as inside:
            body({**known, **inside})

    share_tasks(emitter, units, work, task, cpu)


def decode(emitter: Emitter, number: tirx.Expr, loops: Sequence[Loop]) -> dict[tirx.Var, tirx.Expr]:
    """Returns the positions along axes of the element with a number, in row-major order."""
    known: dict[tirx.Var, tirx.Expr] = {}
    for loop in reversed(loops[1:]):
        known[loop.variable] = emitter.bind(loop.variable.name, number % loop.extent)
        number = number // loop.extent
    if loops:
        known[loops[0].variable] = emitter.bind(loops[0].variable.name, number)
    return known


def volume(loops: Sequence[Loop]) -> int | tirx.Expr:
    """Returns the number of positions; an int where all extents are known."""
    result: int | tirx.Expr = 1
    for loop in loops:
        result = result * (loop.extent if loop.size is None else loop.size)
    return result if isinstance(result, int) else sym.Analyzer().simplify(result)


def vector_lanes(nest: Nest, cpu: CpuDescription) -> int:
    """Returns how many elements a vector takes: as many as the widest type of them leaves."""
    sizes = [_bytes_of(node.ty) for node in nest.loads()]
    sizes += [_bytes_of(value.ty) for value in nest.chain.values]
    return max(2, cpu.vector_bytes // max(4 if size > 1 else 1 for size in sizes))


def _bytes_of(kind: ir.PrimType) -> int:
    dtype = str(kind.dtype)
    return 1 if dtype == "bool" else int("".join(filter(str.isdigit, dtype)) or 8) // 8


def _vectors_at_a_time(nest: Nest) -> int:
    functions, operations = _count(nest)
    if functions:
        return 2 if functions == 1 else 1
    return _MOST_VECTORS_AT_A_TIME if operations <= 8 else 2


def _count(nest: Nest) -> tuple[int, int]:
    """Counts the calls of functions, and the other operations, of an element."""
    functions = operations = 0

    def visit(node: object) -> None:
        nonlocal functions, operations
        if isinstance(node, ir.Call):
            functions += getattr(node.op, "name", "") not in _NO_FUNCTIONS
        else:
            operations += 1

    kinds = (ir.Call, tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min, tirx.Select,
             tirx.Cast)  # fmt: skip
    for expression in nest.chain.expressions:
        floating = tvm_ffi.structural_map(
            expression, [(ir.TensorLoad, lambda node: tirx.Var("loaded", node.ty))]
        )
        tvm_ffi.structural_walk(floating, (kinds, visit))
    return functions, operations


def element_work(nest: Nest, cpu: CpuDescription) -> int:
    """Estimates what an element takes, in operations at the rate of multiply-adds."""
    moved = sum(_bytes_of(node.ty) for node in nest.loads())
    moved += sum(_bytes_of(value.ty) for value in nest.chain.values)
    functions, operations = _count(nest)
    divisions = 0

    def divided(_: object) -> None:
        nonlocal divisions
        divisions += 1

    for expression in nest.chain.expressions:
        tvm_ffi.structural_walk(expression, (tirx.Div, divided))
    return (
        moved * cpu.operations_of_a_byte
        + operations * 2
        + functions * _WORK_OF_A_FUNCTION
        + divisions * _WORK_OF_A_DIVISION
    )


def with_selects(nest: Nest) -> Nest:
    """Evaluates both branches of a choice, where both may be: each lane of a vector chooses."""
    analyzer = sym.Analyzer()
    for loop in (*nest.loops, *nest.reduced):
        analyzer.bind(loop.variable, ir.Range.from_min_extent(index(0), loop.extent))

    def exists(node: tirx.Expr) -> bool:
        size = node.source.shape[0]
        if loads_of(node.indices[0]) or not isinstance(size, tirx.IntImm):
            return False
        bound = analyzer.const_int_bound(node.indices[0])
        return bool(bound.min_value >= 0 and bound.max_value < int(size.value))

    def select(node: ir.Call) -> tirx.Expr:
        if getattr(node.op, "name", "") != EVALUATED_ONLY_IF:
            return node
        condition, *branches = node.args
        if not all(exists(read) for branch in branches for read in loads_of(branch)):
            return node
        return tirx.Select(condition, *branches)

    def rewrite(expression: tirx.Expr) -> tirx.Expr:
        return tvm_ffi.structural_map(expression, [(ir.Call, select)])

    return Nest(nest.loops, nest.reduced, nest.chain.map(rewrite), nest.offset)
