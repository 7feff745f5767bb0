"""Which tensors in between exist: one that is read where it was computed does not."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import te, topi

from ingot.targets.cpu.kernels.plain.plain import write_plain
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.kernels.plain_functions import (
    assert_computes,
    normal,
    placeholder,
    prim_func,
)

# Sizes known, an open batch, and a sequence in an open batch.
SHAPES = [(4, 3, 8), ("n", 3, 8), ("n", "s", 8)]


def tensors_in_between(inputs: list[te.Tensor], output: te.Tensor) -> int:
    written = write_plain(prim_func(inputs, [output]), describe_cpu("native", threads=2))
    return str(written.script()).count("alloc_buffer")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_chain_stores_its_last_tensor_alone(shape: tuple[int | str, ...]) -> None:
    x = placeholder(shape, "uint8")
    centred = topi.subtract(topi.cast(x, "float32"), te.const(3.0, "float32"))
    assert tensors_in_between([x], topi.multiply(centred, te.const(0.5, "float32"))) == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_what_two_operators_read_is_computed_twice_at_most(shape: tuple[int | str, ...]) -> None:
    x = placeholder(shape)
    twice = topi.exp(x)
    assert tensors_in_between([x], topi.add(twice, topi.nn.relu(twice))) == 0


@pytest.mark.parametrize("rows", [64, "n"])
def test_what_many_positions_read_is_stored(rows: int | str) -> None:
    x, factors = placeholder((rows, 32)), placeholder((1, 32), name="factors")
    assert tensors_in_between([x, factors], topi.multiply(x, topi.exp(factors))) == 1


@pytest.mark.parametrize("rows", [3, 7])
def test_a_choice_that_recurs_along_an_axis_is_made_outside_of_the_loops(rows: int) -> None:
    x = placeholder((rows, 4, 8))
    halves = [topi.strided_slice(x, [begin], [begin + 4], [1], axes=[2]) for begin in (0, 4)]
    swapped = topi.concatenate([topi.negative(halves[1]), halves[0]], 2)
    joined = topi.reshape(swapped, (x.shape[0], index(32)))
    written = write_plain(prim_func([x], [joined]), describe_cpu("native", threads=2))
    assert "if_then_else" not in str(written.script())

    def reference(value: np.ndarray) -> np.ndarray:
        return np.concatenate([-value[..., 4:], value[..., :4]], -1).reshape(-1, 32)

    assert_computes([x], joined, [normal(rows, 4, 8)], reference, rounding=0)
