"""Building a program: tensors, storages and slots get their numbers, instructions their order."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ingot.runtime.interface import Interface
from ingot.runtime.program import PROGRAM_VERSION, Argument, Constant, Op, Program, type_code
from ingot.targets.relax.instructions import (
    Block,
    Branch,
    Instruction,
    flattened,
    freed,
    storages_of_outputs,
)

# Bytes: what sizes are computed in is smaller, and has a place of its own.
_SMALL = 256
_SCRATCH_ALIGNMENT = 64
# Room for the shape of a tensor whose rank a region decides.
_HIGHEST_RANK = 64

Size = tuple[int, int]
"""A number (0, number), or what a slot holds (1, slot)."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a program, by its number."""

    number: int


class ProgramBuilder:
    """A program while it is built.

    It keeps which storages each tensor may lie in, so that these end after their last use, and
    which tensors follow from sizes alone: what computes them is called for a plan,
    too.
    """

    def __init__(self) -> None:
        """Begins an empty program."""
        self._kernels: dict[str, int] = {}
        self._regions: dict[str, int] = {}
        self._ranks: list[int] = []
        self._constants: list[Constant] = []
        self._storages = 0
        self._slots = 0
        self._scratch = 0
        self._in_scratch: set[int] = set()
        self._places: dict[int, frozenset[int]] = {}
        # Tensors that are allocated and that nothing has written, and those computed from sizes.
        self._unwritten: set[int] = set()
        self._sized: set[int] = set()
        self._block = Block()
        self._depends_on_data = False

    def finish(self, outputs: Sequence[Tensor], interface: Interface) -> Program:
        """Returns the program.

        Args:
            outputs: The tensors that are the model's outputs, in order.
            interface: What the code is compiled for.
        """
        numbers = [output.number for output in outputs]
        places = [self._places.get(number, frozenset()) for number in numbers]
        external = storages_of_outputs(self._block, places, self._storages_of(self._sized))
        words = flattened(freed(self._block, self._storages_of(numbers)), external)
        return Program(
            version=PROGRAM_VERSION,
            interface=interface,
            kernels=tuple(self._kernels),
            regions=tuple(self._regions),
            ranks=tuple(self._ranks),
            outputs=tuple(numbers),
            dynamic_outputs=tuple(at for at in range(len(numbers)) if at not in external.values()),
            storages=self._storages,
            slots=self._slots,
            most_arguments=_most_arguments(self._block),
            scratch=self._scratch,
            constants=tuple(self._constants),
            words=tuple(words),
        )

    def rank(self, tensor: Tensor) -> int:
        """Returns a tensor's rank."""
        return self._ranks[tensor.number]

    def new_tensor(self, rank: int) -> Tensor:
        """Returns a tensor that lies in no storage of the program."""
        self._ranks.append(rank)
        return Tensor(len(self._ranks) - 1)

    def new_slots(self, count: int) -> int:
        """Returns the first of some slots for sizes."""
        self._slots += count
        return self._slots - count

    def constant(self, array: npt.NDArray[np.generic], dtype: str) -> Tensor:
        """Returns a tensor that the program holds itself."""
        tensor = self.new_tensor(array.ndim)
        data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        self._constants.append(Constant(tensor.number, dtype, array.shape, data))
        self._sized.add(tensor.number)
        return tensor

    def storage(self, size: Size) -> int:
        """Takes a storage of so many bytes; returns its number."""
        number = self._storages
        self._storages += 1
        if size[0] == 0 and size[1] <= _SMALL:
            self._in_scratch.add(number)
            self._emit(Op.SCRATCH, number, self._scratch, size[1])
            self._scratch += -(-max(size[1], 1) // _SCRATCH_ALIGNMENT) * _SCRATCH_ALIGNMENT
        else:
            self._emit(Op.STORAGE, number, *size)
        return number

    def tensor(self, storage: int, offset: int, dtype: str, sizes: Sequence[Size]) -> Tensor:
        """Makes a tensor in a storage, which something has to write."""
        tensor = self.new_tensor(len(sizes))
        self._places[tensor.number] = frozenset([storage])
        self._unwritten.add(tensor.number)
        self._emit(
            Op.TENSOR, tensor.number, storage, offset, *type_code(dtype), len(sizes),
            *_words(sizes), tensors=[tensor.number],
        )  # fmt: skip
        return tensor

    def view(self, source: Tensor, dtype: str, sizes: Sequence[Size]) -> Tensor:
        """Makes a tensor of the memory of another."""
        tensor = self.new_tensor(len(sizes))
        self._places[tensor.number] = self._places.get(source.number, frozenset())
        if source.number in self._sized:
            self._sized.add(tensor.number)
        self._emit(
            Op.VIEW, tensor.number, source.number, *type_code(dtype), len(sizes), *_words(sizes),
            tensors=[source.number],
        )  # fmt: skip
        return tensor

    def kernel(self, name: str, arguments: Sequence[tuple[Argument, int]]) -> None:
        """Calls a kernel; it writes those of its tensors that nothing has written."""
        tensors = [value for kind, value in arguments if kind == Argument.TENSOR]
        written = [tensor for tensor in tensors if tensor in self._unwritten]
        of_sizes = all(
            tensor in self._sized
            or (tensor in written and self._places[tensor] <= self._in_scratch)
            for tensor in tensors
        )
        if of_sizes:
            self._sized.update(written)
        self._unwritten.difference_update(written)
        number = self._kernels.setdefault(name, len(self._kernels))
        words = [word for argument in arguments for word in argument]
        op = Op.SIZE_CALL if of_sizes else Op.CALL
        self._emit(op, number, len(arguments), *words, tensors=tensors)

    def region(
        self, name: str, inputs: Sequence[Tensor], outputs: Sequence[tuple[str, int]]
    ) -> list[Tensor]:
        """Calls a region.

        Args:
            name: What the code calls it by.
            inputs: What it reads, or is told to write to.
            outputs: The dtype and rank of each tensor that it returns; the rank is -1 where the
                region decides.
        """
        self._depend_on_data()
        numbers = [tensor.number for tensor in inputs]
        self._unwritten.difference_update(numbers)
        results = [self.new_tensor(_HIGHEST_RANK if rank < 0 else rank) for _, rank in outputs]
        words = [
            word
            for tensor, (dtype, rank) in zip(results, outputs, strict=True)
            for word in (tensor.number, *type_code(dtype), rank)
        ]
        number = self._regions.setdefault(name, len(self._regions))
        self._emit(Op.REGION, number, len(numbers), len(results), *numbers, *words, tensors=numbers)
        return results

    def require_rank(self, tensor: Tensor, rank: int) -> None:
        """Has a tensor's rank checked, which a region may have got wrong."""
        self._emit(Op.RANK, tensor.number, rank)

    def dimension(self, tensor: Tensor, axis: int, slot: int) -> Size:
        """Reads a dimension into a slot."""
        self._emit(Op.DIMENSION, slot, tensor.number, axis, tensors=[tensor.number])
        return 1, slot

    def copy_size(self, size: Size, slot: int) -> None:
        """Copies a size into a slot."""
        self._emit(Op.COPY, slot, *size)

    def match(self, stated: Size, actual: Size) -> None:
        """Has two sizes compared: if they differ, the inputs do not fit each other."""
        self._emit(Op.MATCH, *stated, *actual)

    def read(self, tensor: Tensor, count: int) -> list[Size]:
        """Reads sizes that a tensor of int64 holds."""
        if tensor.number not in self._sized:
            self._depend_on_data()
        first = self.new_slots(count)
        self._emit(Op.READ, tensor.number, count, first, tensors=[tensor.number])
        return [(1, first + at) for at in range(count)]

    def write(self, sizes: Sequence[Size]) -> Tensor:
        """Returns a new tensor of int64 that holds sizes."""
        tensor = self.tensor(self.storage((0, 8 * len(sizes))), 0, "int64", [(0, len(sizes))])
        self._unwritten.discard(tensor.number)
        if self._places[tensor.number] <= self._in_scratch:
            self._sized.add(tensor.number)
        op = Op.WRITE
        self._emit(op, tensor.number, len(sizes), *_words(sizes), tensors=[tensor.number])
        return tensor

    @contextlib.contextmanager
    def block(self, block: Block) -> Iterator[None]:
        """Has instructions go to the end of a block of a branch."""
        outer, self._block = self._block, block
        try:
            yield
        finally:
            self._block = outer

    def begin_branch(self) -> None:
        """Says that what follows is executed only sometimes."""
        self._depend_on_data()

    def branch(
        self, condition: Tensor, blocks: tuple[Block, Block], results: Sequence[Sequence[Tensor]]
    ) -> list[Tensor]:
        """Adds a branch; returns tensors that are the results of the block that is executed.

        Args:
            condition: A tensor of one element.
            blocks: What is executed if it is not zero, and what if it is.
            results: The results of either block.
        """
        merged = []
        for pair in zip(*results, strict=True):
            tensor = self.new_tensor(max(map(self.rank, pair)))
            self._places[tensor.number] = self._storages_of(each.number for each in pair)
            merged.append(tensor)
        for block, sources in zip(blocks, results, strict=True):
            with self.block(block):
                for tensor, source in zip(merged, sources, strict=True):
                    self._emit(Op.ALIAS, tensor.number, source.number, tensors=[source.number])
        kept = self._storages_of(each.number for each in merged)
        uses = self._storages_of([condition.number])
        self._block.items.append(Branch(condition.number, *blocks, uses, kept))
        return merged

    def _depend_on_data(self) -> None:
        """From here on sizes depend on what is computed."""
        if not self._depends_on_data:
            self._depends_on_data = True
            self._emit(Op.DATA)

    def _storages_of(self, tensors: Iterable[int]) -> frozenset[int]:
        """The storages that any of some tensors may lie in."""
        places = (self._places.get(tensor, frozenset()) for tensor in tensors)
        return frozenset[int]().union(*places)

    def _emit(self, op: Op, *words: int, tensors: Iterable[int] = ()) -> None:
        self._block.items.append(Instruction(op, list(words), self._storages_of(tensors)))


def _words(sizes: Iterable[Size]) -> list[int]:
    return [word for size in sizes for word in size]


def _most_arguments(block: Block) -> int:
    most = 1
    for item in block.items:
        if isinstance(item, Branch):
            most = max(most, *(_most_arguments(each) for each in item.blocks))
        elif item.op in (Op.CALL, Op.SIZE_CALL):
            most = max(most, item.words[1])
    return most
