"""From a program to a plan: shapes are fixed, so each tensor gets its address at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ingot.errors import CompilationError
from ingot.runtime.cuda.plan import (
    ALIGNMENT,
    ARENA,
    PLAN_VERSION,
    WEIGHTS,
    Address,
    Buffer,
    Check,
    Constant,
    Launch,
    Plan,
    Weight,
)
from ingot.runtime.program import Argument, Op, Program
from ingot.targets.cuda.checks import Bounds
from ingot.targets.cuda.kernels import HostPart

# How many operands each instruction has that a program of fixed sizes consists of; for the others
# the place of the count, and how many words each counted thing takes.
_FIXED = {
    Op.STORAGE: 3, Op.SCRATCH: 3, Op.OUTPUT: 4, Op.FREE: 1,
    # These compare the sizes of tensors, which are those that the session has checked.
    Op.DIMENSION: 3, Op.COPY: 3, Op.MATCH: 4, Op.RANK: 2,
}  # fmt: skip
_COUNTED = {Op.CALL: (1, 2), Op.SIZE_CALL: (1, 2), Op.TENSOR: (5, 2), Op.VIEW: (4, 2)}
_NUMBER = 0


class Space:
    """Places in a block of memory: first the smallest gap that is large enough."""

    def __init__(self) -> None:
        """Begins an empty block."""
        self.size = 0
        self._gaps: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        """Returns the offset of so many bytes."""
        size = _aligned(size)
        fit = [gap for gap in self._gaps if gap[1] - gap[0] >= size]
        if fit:
            gap = min(fit, key=lambda each: (each[1] - each[0], each[0]))
            self._gaps.remove(gap)
            if gap[0] + size < gap[1]:
                self._gaps.append((gap[0] + size, gap[1]))
            return gap[0]
        offset = self.size
        if self._gaps and max(self._gaps)[1] == self.size:
            last = max(self._gaps)
            self._gaps.remove(last)
            offset = last[0]
        self.size = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Gives bytes back that were taken."""
        begin, end = offset, offset + _aligned(size)
        for gap in [gap for gap in self._gaps if gap[1] == begin or gap[0] == end]:
            self._gaps.remove(gap)
            begin, end = min(begin, gap[0]), max(end, gap[1])
        self._gaps.append((begin, end))


def _aligned(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT


def make_plan(
    program: Program,
    hosts: Mapping[str, HostPart],
    checks: Mapping[str, Bounds],
    weights: Mapping[str, npt.NDArray[np.generic]],
    sizes: Callable[[int], int],
    architectures: Sequence[str],
) -> Plan:
    """Makes a plan of a program whose sizes are all fixed.

    Args:
        program: The program; its tensors are the inputs, then the weights.
        hosts: How each prim func launches its kernels.
        checks: The prim funcs that check an input instead.
        weights: The weights in the program's order.
        sizes: The bytes of an input or output of the interface: inputs first, then outputs.
        architectures: What there will be machine code for.

    Raises:
        CompilationError: Sizes or the instructions that are executed depend on data.
    """
    return _Planner(program, hosts, checks, weights, sizes).plan(tuple(architectures))


class _Planner:
    def __init__(
        self,
        program: Program,
        hosts: Mapping[str, HostPart],
        checks: Mapping[str, Bounds],
        weights: Mapping[str, npt.NDArray[np.generic]],
        sizes: Callable[[int], int],
    ) -> None:
        self._program = program
        self._hosts = hosts
        self._bounds = checks
        self._checks: list[Check] = []
        self._sizes = sizes
        self._arena, self._weights = Space(), Space()
        self._storages: dict[int, Buffer] = {}
        self._tensors: dict[int, Address] = {}
        self._kernels: dict[str, int] = {}
        self._launches: list[Launch] = []
        self._inputs = tuple(
            self._place(self._arena, ARENA, sizes(at), at)
            for at in range(len(program.interface.inputs))
        )
        first = len(self._inputs)
        self._placed = tuple(
            Weight(name, self._place(self._weights, WEIGHTS, array.nbytes, first + at))
            for at, (name, array) in enumerate(weights.items())
        )
        self._constants = tuple(
            Constant(
                self._place(self._arena, ARENA, len(each.contents()), each.tensor), each.data
            )
            for each in program.constants
        )  # fmt: skip

    def plan(self, architectures: tuple[str, ...]) -> Plan:
        for op, words in _instructions(self._program.words):
            self._execute(op, words)
        first = len(self._inputs)
        outputs = tuple(
            Buffer(self._tensors[tensor], self._sizes(first + at))
            for at, tensor in enumerate(self._program.outputs)
        )
        return Plan(
            version=PLAN_VERSION,
            architectures=architectures,
            arena=self._arena.size,
            weight_bytes=self._weights.size,
            inputs=self._inputs,
            outputs=outputs,
            weights=self._placed,
            constants=self._constants,
            checks=tuple(self._checks),
            kernels=tuple(self._kernels),
            launches=tuple(self._launches),
        )

    def _place(self, space: Space, block: int, size: int, tensor: int) -> Buffer:
        address = block, space.take(size)
        self._tensors[tensor] = address
        return Buffer(address, size)

    def _execute(self, op: Op, words: Sequence[int]) -> None:
        if op in (Op.CALL, Op.SIZE_CALL):
            self._call(self._program.kernels[words[0]], words[2:])
        elif op == Op.STORAGE:
            self._take(words[0], _fixed(words[1:]))
        elif op == Op.SCRATCH:
            self._take(words[0], words[2])
        elif op == Op.OUTPUT:
            # The outputs are copied from the device at the end: they lie in the arena till then.
            self._take(words[0], _fixed(words[2:]))
        elif op == Op.FREE:
            buffer = self._storages.pop(words[0])
            self._arena.give(buffer.address[1], buffer.size)
        elif op == Op.TENSOR:
            block, offset = self._storages[words[1]].address
            self._tensors[words[0]] = block, offset + words[2]
        elif op == Op.VIEW:
            self._tensors[words[0]] = self._tensors[words[1]]

    def _take(self, storage: int, size: int) -> None:
        self._storages[storage] = Buffer((ARENA, self._arena.take(size)), size)

    def _check(self, bounds: Bounds, tensor: int) -> None:
        address = self._tensors[tensor]
        for at, buffer in enumerate(self._inputs):
            if buffer.address == address:
                self._checks.append(Check(at, bounds.low, bounds.high, bounds.message))
                return
        raise CompilationError(
            f"values that are computed would have to be checked on the GPU: {bounds.message}"
        )

    def _call(self, name: str, words: Sequence[int]) -> None:
        if name in self._bounds:
            self._check(self._bounds[name], words[1])
            return
        host = self._hosts[name]
        if any(kind != Argument.TENSOR for kind in words[::2]):
            raise CompilationError(f"{name} takes sizes that are not fixed")
        given = [self._tensors[tensor] for tensor in words[1::2]]
        assert len(given) == host.parameters
        workspace = [Buffer((ARENA, self._arena.take(size)), size) for size in host.workspace]
        given += [buffer.address for buffer in workspace]
        for launch in host.launches:
            self._launches.append(
                Launch(
                    kernel=self._kernels.setdefault(launch.kernel, len(self._kernels)),
                    grid=launch.grid,
                    block=launch.block,
                    shared=launch.shared,
                    arguments=tuple(given[argument] for argument in launch.arguments),
                )
            )
        for buffer in workspace:
            self._arena.give(buffer.address[1], buffer.size)


def _fixed(size: Sequence[int]) -> int:
    kind, value = size
    if kind != _NUMBER:
        raise CompilationError("memory depends on sizes that are not fixed: give them by --shape")
    return value


def _instructions(words: Sequence[int]) -> Iterator[tuple[Op, Sequence[int]]]:
    at = 0
    while (op := Op(words[at])) != Op.END:
        at += 1
        if op in _FIXED:
            count = _FIXED[op]
        elif op in _COUNTED:
            place, each = _COUNTED[op]
            count = place + 1 + each * words[at + place]
        else:
            raise CompilationError(
                f"sizes or branches depend on what is computed ({op.name.lower()}), and a GPU's "
                "launches are fixed when the model is compiled"
            )
        yield op, words[at : at + count]
        at += count
