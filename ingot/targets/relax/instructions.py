"""Instructions of a program before they are numbers: where storages end, where branches go."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ingot.runtime.program import Op


@dataclasses.dataclass
class Instruction:
    """An instruction.

    Attributes:
        op: What it does.
        words: Its operands.
        uses: The storages that it reads or writes.
    """

    op: Op
    words: list[int]
    uses: frozenset[int]


@dataclasses.dataclass
class Block:
    """Instructions and branches, one after the other."""

    items: list[Instruction | Branch] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Branch:
    """Two blocks, of which one is executed.

    Attributes:
        condition: The tensor that decides.
        taken: The block for a value that is not zero.
        other: The other block.
        reads: The storages of the condition.
        results: The storages that the results of either block may lie in.
    """

    condition: int
    taken: Block
    other: Block
    reads: frozenset[int]
    results: frozenset[int]

    @property
    def blocks(self) -> tuple[Block, Block]:
        """Both blocks."""
        return self.taken, self.other

    @property
    def uses(self) -> frozenset[int]:
        """The storages that it reads or writes, whichever way it goes."""
        inner = (item.uses for block in self.blocks for item in block.items)
        return self.reads | self.results | frozenset[int]().union(*inner)


def freed(block: Block, kept: frozenset[int]) -> Block:
    """Returns a block in which each storage that it takes is freed after its last use.

    Args:
        block: The block.
        kept: The storages that outlive it.
    """
    own: set[int] = set()
    last: dict[int, int] = {}
    for at, item in enumerate(block.items):
        if isinstance(item, Branch):
            own |= item.results & _taken(item)
        elif item.op == Op.STORAGE:
            own.add(item.words[0])
        for storage in item.uses:
            last[storage] = at
        if isinstance(item, Instruction) and item.op == Op.STORAGE:
            last.setdefault(item.words[0], at)
    ends: dict[int, list[int]] = {}
    for storage in sorted(own - kept):
        ends.setdefault(last[storage], []).append(storage)
    result = Block()
    for at, item in enumerate(block.items):
        if isinstance(item, Branch):
            outer = item.results | kept
            taken, other = (freed(each, outer) for each in item.blocks)
            item = dataclasses.replace(item, taken=taken, other=other)
        result.items.append(item)
        result.items += [
            Instruction(Op.FREE, [storage], frozenset()) for storage in ends.get(at, ())
        ]
    return result


def _taken(branch: Branch) -> set[int]:
    """The storages that are taken within a branch."""
    found: set[int] = set()
    for block in branch.blocks:
        for item in block.items:
            if isinstance(item, Branch):
                found |= _taken(item)
            elif item.op == Op.STORAGE:
                found.add(item.words[0])
    return found


def storages_of_outputs(
    block: Block, places: Sequence[frozenset[int]], planned: frozenset[int]
) -> dict[int, int]:
    """Returns the outputs whose memory may be the caller's, by the storage that they have alone.

    Args:
        block: The program.
        places: The storages that each output may lie in.
        planned: Storages that are written when an execution is planned.
    """
    tensors: dict[int, int] = {}
    for item in block.items:
        if isinstance(item, Instruction) and item.op == Op.TENSOR:
            tensors[item.words[1]] = tensors.get(item.words[1], 0) + 1
    taken = {
        item.words[0]
        for item in block.items
        if isinstance(item, Instruction) and item.op in (Op.STORAGE, Op.SCRATCH)
    }
    found: dict[int, int] = {}
    shared = [storage for each in places for storage in each]
    for at, each in enumerate(places):
        if len(each) == 1:
            (storage,) = each
            own = storage in taken - planned
            if own and tensors.get(storage) == 1 and shared.count(storage) == 1:
                found[storage] = at
    return found


def flattened(block: Block, external: Mapping[int, int]) -> list[int]:
    """Returns a program as numbers, places to go on at included.

    Args:
        block: The program.
        external: The outputs whose memory is the caller's, by storage.
    """
    words: list[int] = []
    _flatten(block, external, words)
    words.append(Op.END)
    return words


def _flatten(block: Block, external: Mapping[int, int], words: list[int]) -> None:
    for item in block.items:
        if isinstance(item, Branch):
            words += [Op.UNLESS, item.condition, 0]
            to_other = len(words) - 1
            _flatten(item.taken, external, words)
            words += [Op.JUMP, 0]
            to_end = len(words) - 1
            words[to_other] = len(words)
            _flatten(item.other, external, words)
            words[to_end] = len(words)
        elif item.op in (Op.STORAGE, Op.SCRATCH) and item.words[0] in external:
            storage, *rest = item.words
            size = rest if item.op == Op.STORAGE else [0, rest[1]]
            words += [Op.OUTPUT, storage, external[storage], *size]
        else:
            words += [item.op, *item.words]
