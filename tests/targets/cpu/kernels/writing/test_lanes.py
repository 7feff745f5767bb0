"""Operations across lanes: transposes of square blocks, sums and maxima of a vector."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import tirx

from ingot.targets.cpu.kernels.writing.emission import Emitter, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.lanes import reduce_lanes, transpose, transpose_bytes
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.kernels.conftest import compile_kernel

LANES = [4, 8, 16]


@pytest.mark.parametrize("lanes", LANES)
def test_transpose_of_a_block(lanes: int) -> None:
    emitter = Emitter()
    source = tirx.decl_buffer((lanes, lanes), "float32")
    result = tirx.decl_buffer((lanes, lanes), "float32")
    rows = [load(source, row, vector_at(0, lanes)) for row in range(lanes)]
    for column, values in enumerate(transpose(emitter, rows)):
        emitter.store(result, values, [column, vector_at(0, lanes)])
    kernel = compile_kernel(
        prim_func([source, result], emitter.body()), describe_cpu("native", threads=1)
    )
    block = np.arange(lanes * lanes, dtype=np.float32).reshape(lanes, lanes)
    np.testing.assert_array_equal(kernel(block, shape=block.shape), block.T)


@pytest.mark.parametrize("lanes", LANES)
def test_transpose_of_a_block_of_bytes(lanes: int) -> None:
    emitter = Emitter()
    source, result = (tirx.decl_buffer((lanes, lanes), "uint8") for _ in range(2))
    rows = [load(source, row, vector_at(0, lanes)) for row in range(lanes)]
    for column, values in enumerate(transpose_bytes(emitter, rows)):
        emitter.store(result, values, [column, vector_at(0, lanes)])
    kernel = compile_kernel(
        prim_func([source, result], emitter.body()), describe_cpu("native", threads=1)
    )
    block = np.arange(lanes * lanes, dtype=np.uint8).reshape(lanes, lanes)
    np.testing.assert_array_equal(kernel(block, shape=block.shape, dtype=np.uint8), block.T)


@pytest.mark.parametrize("lanes", [1, 2, *LANES])
def test_sum_and_maximum_of_a_vector(lanes: int) -> None:
    emitter = Emitter()
    source = tirx.decl_buffer((lanes,), "float32")
    result = tirx.decl_buffer((2,), "float32")
    vector = load(source, vector_at(0, lanes))
    total = reduce_lanes(emitter, vector, lanes, lambda a, b: a + b)
    emitter.store(result, total, [0])
    emitter.store(result, reduce_lanes(emitter, vector, lanes, tirx.max), [1])
    kernel = compile_kernel(
        prim_func([source, result], emitter.body()), describe_cpu("native", threads=1)
    )
    values = np.random.default_rng(0).permutation(lanes).astype(np.float32)
    assert kernel(values, shape=(2,)).tolist() == [values.sum(), lanes - 1]
