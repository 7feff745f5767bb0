"""Numbers, places and marks that a builder gives."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.runtime.interface import Interface
from ingot.runtime.program import Argument, Op
from ingot.targets.relax.instructions import Block
from ingot.targets.relax.program_builder import ProgramBuilder

NOTHING = Interface((), (), ())


@pytest.mark.parametrize(("first", "second"), [(1, 3), (3, 1), (2, 2)])
def test_what_a_branch_gives_has_room_for_the_shape_of_either_result(
    first: int, second: int
) -> None:
    """A region decides ranks: with room for the first alone, the second wrote over others."""
    builder = ProgramBuilder()
    condition = builder.new_tensor(0)
    results = [[builder.new_tensor(rank)] for rank in (first, second)]
    (merged,) = builder.branch(condition, (Block(), Block()), results)
    assert builder.rank(merged) == max(first, second)


def test_what_is_computed_from_sizes_is_called_for_a_plan() -> None:
    builder = ProgramBuilder()
    data = builder.new_tensor(1)
    builder.constant(np.zeros(2, np.int64), "int64")
    slot = builder.new_slots(1)
    small = builder.tensor(builder.storage((0, 8)), 0, "int64", [(0, 1)])
    large = builder.tensor(builder.storage((0, 4096)), 0, "float32", [(0, 1024)])
    builder.kernel("sizes", [(Argument.SLOT, slot), (Argument.TENSOR, small.number)])
    builder.kernel("work", [(Argument.TENSOR, data.number), (Argument.TENSOR, large.number)])
    builder.read(small, 1)
    program = builder.finish([large], NOTHING)
    words = list(program.words)
    assert words.count(Op.DATA) == 0
    assert Op.SIZE_CALL in words and program.kernels == ("sizes", "work")
    assert program.dynamic_outputs == ()


def test_sizes_of_data_end_the_plan() -> None:
    builder = ProgramBuilder()
    data = builder.new_tensor(1)
    small = builder.tensor(builder.storage((0, 8)), 0, "int64", [(0, 1)])
    builder.kernel("count", [(Argument.TENSOR, data.number), (Argument.TENSOR, small.number)])
    size = builder.read(small, 1)
    large = builder.tensor(builder.storage(size[0]), 0, "float32", size)
    builder.kernel("work", [(Argument.TENSOR, data.number), (Argument.TENSOR, large.number)])
    program = builder.finish([large], NOTHING)
    words = list(program.words)
    assert words.index(Op.DATA) < words.index(Op.READ, words.index(Op.DATA))
