"""Storages end after their last use; outputs that have one alone may be a caller's memory."""

from __future__ import annotations

from ingot.runtime.program import Op
from ingot.targets.relax.instructions import (
    Block,
    Branch,
    Instruction,
    flattened,
    freed,
    storages_of_outputs,
)


def storage(number: int) -> Instruction:
    return Instruction(Op.STORAGE, [number, 0, 64], frozenset())


def tensor(number: int, lies_in: int) -> Instruction:
    words = [number, lies_in, 0, 2, 32, 1, 0, 16]
    return Instruction(Op.TENSOR, words, frozenset([lies_in]))


def call(*storages: int) -> Instruction:
    return Instruction(Op.CALL, [0, 0], frozenset(storages))


def shown(block: Block) -> list[str]:
    """Instructions in short; those of branches in brackets."""
    found = []
    for item in block.items:
        if isinstance(item, Branch):
            found += ["[", *shown(item.taken), "|", *shown(item.other), "]"]
        elif item.op in (Op.STORAGE, Op.FREE):
            found.append(f"{'+' if item.op == Op.STORAGE else '-'}{item.words[0]}")
        elif item.op == Op.CALL:
            found.append("call")
    return found


def test_a_storage_ends_after_its_last_use() -> None:
    block = Block([storage(0), storage(1), call(0, 1), storage(2), call(1, 2), call(2)])
    ended = ["+0", "+1", "call", "-0", "+2", "call", "-1", "call", "-2"]
    assert shown(freed(block, frozenset())) == ended
    assert shown(freed(block, frozenset([2]))) == ended[:-1]


def test_a_storage_that_nothing_uses_ends_at_once() -> None:
    assert shown(freed(Block([storage(0), call()]), frozenset())) == ["+0", "-0", "call"]


def test_what_a_branch_uses_lasts_until_its_end() -> None:
    taken = Block([storage(1), call(0, 1), call(0)])
    branch = Branch(9, taken, Block([call()]), frozenset([0]), frozenset())
    block = Block([storage(0), branch, call()])
    assert shown(freed(block, frozenset())) == [
        "+0", "[", "+1", "call", "-1", "call", "|", "call", "]", "-0", "call",
    ]  # fmt: skip


def test_results_of_a_branch_end_behind_it() -> None:
    """Either storage may be the one; the one that was not taken is not freed when it runs."""
    taken, other = Block([storage(1), call(1)]), Block([storage(2), call(2)])
    branch = Branch(9, taken, other, frozenset(), frozenset([1, 2]))
    block = Block([branch, call(1, 2), call()])
    assert shown(freed(block, frozenset())) == [
        "[", "+1", "call", "|", "+2", "call", "]", "call", "-1", "-2", "call",
    ]  # fmt: skip


def test_outputs_with_a_storage_of_their_own_may_be_a_callers() -> None:
    block = Block([storage(0), tensor(0, 0), storage(1), tensor(1, 1), storage(2), tensor(2, 2)])
    places = [frozenset([0]), frozenset([1]), frozenset([2])]
    assert storages_of_outputs(block, places, frozenset()) == {0: 0, 1: 1, 2: 2}
    assert storages_of_outputs(block, places, frozenset([1])) == {0: 0, 2: 2}
    # Two outputs of one storage, one that may lie in two, and one with another tensor before it.
    assert storages_of_outputs(block, [places[0], places[0]], frozenset()) == {}
    assert storages_of_outputs(block, [frozenset([0, 1])], frozenset()) == {}
    shared = Block([*block.items, tensor(3, 2)])
    assert storages_of_outputs(shared, places, frozenset()) == {0: 0, 1: 1}


def test_branches_become_jumps() -> None:
    branch = Branch(7, Block([call()]), Block([call(), call()]), frozenset(), frozenset())
    words = flattened(Block([branch]), {})
    assert words == [
        Op.UNLESS, 7, 8, Op.CALL, 0, 0, Op.JUMP, 14, Op.CALL, 0, 0, Op.CALL, 0, 0, Op.END,
    ]  # fmt: skip


def test_storages_of_outputs_are_taken_from_the_caller() -> None:
    assert flattened(Block([storage(3)]), {3: 1}) == [Op.OUTPUT, 3, 1, 0, 64, Op.END]
