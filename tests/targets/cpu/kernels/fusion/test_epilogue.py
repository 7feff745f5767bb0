"""Epilogues: what becomes of the values in a tile's registers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import ir, te, tirx

from ingot.targets.cpu.kernels.anchors import Anchor
from ingot.targets.cpu.kernels.fusion.epilogue import Epilogue, FusedKernel
from ingot.targets.cpu.kernels.fusion.taking_apart import take_apart
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.kernels.conftest import compile_kernel
from tests.targets.cpu.kernels.fusion.fused_functions import (
    elementwise,
    fused,
    relu,
    silu,
)
from tests.targets.cpu.networks import normal

LANES = 8
NATIVE = describe_cpu("native", threads=2)


def store_tile(
    kernel: FusedKernel[Anchor],
    epilogue: Epilogue,
    emitter: Emitter,
    first: list[int],
    columns: int,
) -> tirx.PrimFunc:
    """Stores one row of accumulators, which a further parameter holds, from a position on."""
    vectors = -(-columns // LANES)
    values = tirx.decl_buffer([index(vectors * LANES)], "float32", "values")
    accumulators = emitter.allocate("accumulators", [vectors * LANES])
    with emitter.loop(vectors * LANES, "i") as i:
        emitter.store(accumulators, load(values, i), [i])
    for vector in range(vectors):
        epilogue.store(
            emitter,
            accumulators,
            vector * LANES,
            [*map(index, first[:-1]), index(first[-1] + vector * LANES)],
            lanes=LANES,
            valid=columns - vector * LANES,
        )
    return prim_func([values, *kernel.parameters[2:]], emitter.body())


def stored(
    kernel: FusedKernel[Anchor], first: list[int], values: np.ndarray, *operands: np.ndarray
) -> np.ndarray:
    """Runs such a function; elements that it does not store are NaN."""
    function = store_tile(kernel, kernel.epilogue, Emitter(), first, len(values))
    padded = np.pad(values, (0, -len(values) % LANES), constant_values=np.nan)
    shape = tuple(map(int, kernel.epilogue.result.shape))
    return compile_kernel(function, NATIVE)(padded, *operands, shape=shape)


class TestStoring:
    """A tile's accumulators go through the epilogue on their way to the result."""

    @pytest.mark.parametrize("columns", [1, 7, 8, 11, 16, 19])
    def test_only_columns_of_the_result_are_stored(self, columns: int) -> None:
        values = normal(columns)
        result = stored(take_apart(fused((3, columns), relu)), [1, 0], values)
        np.testing.assert_array_equal(result[1], np.maximum(values, 0))
        assert np.isnan(result[[0, 2]]).all()

    def test_an_anchor_alone_is_stored_as_it_is(self) -> None:
        values = normal(LANES)
        result = stored(take_apart(fused((2, LANES), lambda anchor: anchor)), [0, 0], values)
        np.testing.assert_array_equal(result[0], values)

    def test_operands_are_read_at_their_own_positions(self) -> None:
        # A residual of the result's shape, one value per column, one per image, and one in all.
        shapes = [(2, 3, 4, 11), (1, 1, 1, 11), (2, 1, 1, 1), (1,)]

        def steps(anchor: te.Tensor, *others: te.Tensor) -> te.Tensor:
            residual, column, image, scalar = others
            return elementwise(
                anchor,
                lambda n, y, x, c: (
                    (anchor[n, y, x, c] + residual[n, y, x, c]) * column[0, 0, 0, c]
                    + image[n, 0, 0, 0] * scalar[0]
                ),
                "all",
            )

        operands = [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
        values = normal(11, seed=9)
        result = stored(
            take_apart(fused(shapes[0], steps, *shapes)), [1, 2, 3, 0], values, *operands
        )
        residual, column, image, scalar = operands
        expected = (values + residual[1, 2, 3]) * column[0, 0, 0] + image[1, 0, 0] * scalar
        np.testing.assert_allclose(result[1, 2, 3], expected, rtol=1e-6, atol=1e-6)
        assert np.isnan(result).sum() == result.size - 11

    def test_a_result_of_another_type(self) -> None:
        def truncated(anchor: te.Tensor) -> te.Tensor:
            return elementwise(anchor, lambda i, j: tirx.Cast("int32", anchor[i, j]), "truncated")

        kernel = take_apart(fused((2, 11), truncated))
        function = store_tile(kernel, kernel.epilogue, Emitter(), [1, 0], 11)
        values = np.linspace(-9, 9, 16, dtype=np.float32)
        result = tvm.runtime.tensor(np.zeros((2, 11), np.int32))
        compile_kernel(function, NATIVE).module["main"](tvm.runtime.tensor(values), result)
        assert result.numpy()[1].tolist() == values[:11].astype(np.int32).tolist()

    @pytest.mark.parametrize(("columns", "stores"), [(8, 1), (11, 3), (24, 3)])
    def test_a_value_that_is_used_twice_is_computed_once(self, columns: int, stores: int) -> None:
        # SiLU reads the accumulator and its sigmoid; three lanes of the tail take a pair and one.
        kernel = take_apart(fused((2, columns), silu))
        function = store_tile(kernel, kernel.epilogue, Emitter(), [0, 0], columns)
        calls: list[str] = []
        tvm_ffi.structural_walk(
            function.body, (ir.Call, lambda call: calls.append(getattr(call.op, "name", "")))
        )
        assert calls.count("tirx.sigmoid") == stores

    def test_values_of_silu(self) -> None:
        values = normal(19)
        result = stored(take_apart(fused((1, 19), silu)), [0, 0], values)
        np.testing.assert_allclose(result[0], values / (1 + np.exp(-values)), rtol=1e-6)


class TestByRows:
    """All leading axes of the result become one, so that tiles may run over them."""

    def test_operands_follow_the_row(self) -> None:
        shape = (2, 3, 4, LANES)

        def steps(
            anchor: te.Tensor, residual: te.Tensor, scale: te.Tensor, shift: te.Tensor
        ) -> te.Tensor:
            return elementwise(
                anchor,
                lambda n, y, x, c: (
                    (anchor[n, y, x, c] + residual[n, y, x, c]) * scale[n, 0, 0, c]
                    + shift[0, y, 0, 0]
                ),
                "all",
            )

        operand_shapes = [shape, (2, 1, 1, LANES), (1, 3, 1, 1)]
        kernel = take_apart(fused(shape, steps, *operand_shapes))
        operands = [normal(*size, seed=seed) for seed, size in enumerate(operand_shapes)]
        values = normal(LANES, seed=9)

        def decode(row: tirx.Expr) -> list[tirx.Expr]:
            return [row // index(12), row // index(4) % index(3), row % index(4)]

        emitter = Emitter()
        epilogue = kernel.epilogue.by_rows(emitter, decode)
        row = np.ravel_multi_index((1, 2, 3), (2, 3, 4))
        function = store_tile(kernel, epilogue, emitter, [int(row), 0], LANES)
        result = compile_kernel(function, NATIVE)(values, *operands, shape=shape)
        residual, scale, shift = operands
        expected = (values + residual[1, 2, 3]) * scale[1, 0, 0] + shift[0, 2, 0]
        np.testing.assert_allclose(result[1, 2, 3], expected, rtol=1e-6, atol=1e-6)
        assert np.isnan(result).sum() == result.size - LANES


@pytest.mark.skipif(NATIVE.architecture != "x86_64", reason="names x86's instructions")
def test_prefetch_asks_for_the_result_and_for_what_streams_beside_it() -> None:
    # Two cache lines of the result, two of the residual; the bias is the same for every row.
    def steps(anchor: te.Tensor, residual: te.Tensor, bias: te.Tensor) -> te.Tensor:
        return elementwise(anchor, lambda i, j: anchor[i, j] + residual[i, j] + bias[0, j], "sum")

    kernel = take_apart(fused((4, 32), steps, (4, 32), (1, 32)))
    emitter = Emitter()
    kernel.epilogue.prefetch(emitter, [index(2), index(0)], 32)
    function = store_tile(kernel, kernel.epilogue, emitter, [2, 0], 32)
    assembly = compile_kernel(function, NATIVE).assembly
    asked = re.findall(r"\b(prefetch\w+)\s", assembly)
    assert sorted(asked) == ["prefetcht0", "prefetcht0", "prefetchw", "prefetchw"]


@pytest.mark.skipif(NATIVE.architecture != "x86_64", reason="names x86's instructions")
def test_prefetch_asks_for_each_line_once() -> None:
    def steps(anchor: te.Tensor) -> te.Tensor:
        return elementwise(anchor, lambda i, j: anchor[i, j].astype("uint8"), "bytes")

    kernel = take_apart(fused((4, 128), steps))
    emitter = Emitter()
    kernel.epilogue.prefetch(emitter, [index(2), index(0)], 128)
    function = store_tile(kernel, kernel.epilogue, emitter, [2, 0], 128)
    assembly = compile_kernel(function, NATIVE).assembly
    # 64 bytes are a line, of whatever type.
    assert len(re.findall(r"\bprefetchw\s", assembly)) == 2
