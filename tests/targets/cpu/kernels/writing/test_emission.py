"""Emitted statements are the prim func's body: what stands there is what runs."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from tvm import tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.writing.emission import (
    FAMILY,
    OPERATIONS,
    Emitter,
    index,
    load,
    prim_func,
    splat,
    vector_at,
)
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.kernels.conftest import Kernel, compile_kernel

SIZE = 24
NATIVE = describe_cpu("native", threads=2)

Write = Callable[[Emitter, tirx.Buffer, tirx.Buffer], None]


def compiled(write: Write) -> Kernel:
    """Compiles what is written with an emitter, an input and a result."""
    x, y = (tirx.decl_buffer([index(SIZE)], "float32", name) for name in "xy")
    emitter = Emitter()
    write(emitter, x, y)
    return compile_kernel(prim_func([x, y], emitter.body()), NATIVE)


def run(write: Write) -> np.ndarray:
    """Runs it on 0, 1, 2, …; what is not written stays NaN."""
    return compiled(write)(np.arange(SIZE, dtype=np.float32), shape=(SIZE,))


def written(result: np.ndarray) -> list[int]:
    return np.flatnonzero(~np.isnan(result)).tolist()


@pytest.mark.parametrize("kind", ["loop", "parallel"])
@pytest.mark.parametrize(("start", "extent"), [(0, SIZE), (5, 7), (3, 1), (4, 0)])
def test_loops_go_through_their_range(kind: str, start: int, extent: int) -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        if kind == "parallel":
            with emitter.parallel(extent, "i") as i:
                emitter.store(y, load(x, i + index(start)), [i + index(start)])
        else:
            with emitter.loop(extent, "i", start=start) as i:
                emitter.store(y, load(x, i), [i])

    result = run(write)
    assert written(result) == list(range(start, start + extent))
    assert result[start : start + extent].tolist() == written(result)


def test_a_loop_of_one_iteration_is_left_out() -> None:
    emitter = Emitter()
    y = tirx.decl_buffer([index(SIZE)], "float32", "y")
    with emitter.loop(1, "i", start=7) as i:
        emitter.store(y, splat(1.0, 1), [i])
    body = emitter.body()
    assert isinstance(body, statements.BufferStore)
    assert int(body.indices[0]) == 7


def test_a_loop_whose_bounds_cross_does_nothing() -> None:
    # Rows of a kernel that lie wholly in the padding give such bounds.
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        high = emitter.bind("high", tirx.Cast("int64", load(x, 2)))
        with emitter.loop(high - index(9), "i", start=9) as i:
            emitter.store(y, load(x, i), [i])

    assert written(run(write)) == []


def test_conditions_guard_what_is_emitted_in_them() -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        with emitter.loop(SIZE, "i") as i, emitter.when((i % index(5)).equal(index(3))):
            emitter.store(y, load(x, i), [i])

    assert written(run(write)) == [3, 8, 13, 18, 23]


@pytest.mark.parametrize("lanes", [1, 4, 8])
def test_vectors_are_loaded_and_stored_whole(lanes: int) -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        doubled = load(x, vector_at(3, lanes)) * splat(2.0, lanes)
        emitter.store(y, doubled, [vector_at(10, lanes)])

    result = run(write)
    assert result[10 : 10 + lanes].tolist() == [2.0 * i for i in range(3, 3 + lanes)]
    assert written(result) == list(range(10, 10 + lanes))


def test_vector_loops_bind_values_per_lane() -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        with emitter.vectorized(8) as lane:
            square = emitter.bind("square", load(x, lane) * load(x, lane))
            emitter.store(y, square + square, [lane])

    assert run(write)[:8].tolist() == [2.0 * i * i for i in range(8)]


def test_a_bound_expression_is_evaluated_once_where_it_stands() -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        memory = emitter.allocate("memory", [1])
        emitter.store(memory, load(x, 5), [0])
        before = emitter.bind("before", load(memory, 0))
        emitter.store(memory, load(x, 9), [0])
        emitter.store(y, before, [0])
        emitter.store(y, load(memory, 0), [1])

    assert run(write)[:2].tolist() == [5.0, 9.0]


@pytest.mark.parametrize("size", [64, 1000])
def test_threads_have_buffers_of_their_own_on_the_stack_and_off_it(size: int) -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        with emitter.parallel(SIZE, "task") as task:
            memory = emitter.allocate("memory", [size])
            with emitter.loop(size, "i") as i:
                emitter.store(memory, load(x, task), [i])
            emitter.store(y, load(memory, task), [task])

    kernel = compiled(write)
    x = np.arange(SIZE, dtype=np.float32)
    for _ in range(20):
        np.testing.assert_array_equal(kernel(x, shape=(SIZE,)), x)


def test_machine_functions_are_called_where_they_stand_and_not_inlined() -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        for first in (0, 8):
            with emitter.function("part"), emitter.loop(8, "i", start=first) as i:
                emitter.store(y, load(x, i) + splat(1.0, 1), [i])

    kernel = compiled(write)
    result = kernel(np.arange(SIZE, dtype=np.float32), shape=(SIZE,))
    assert result[:16].tolist() == list(range(1, 17))
    assert written(result) == list(range(16))
    names = set(re.findall(r"^(\w*part_\d+)\w*:", kernel.assembly, re.MULTILINE))
    assert len(names) == 2


def test_a_machine_function_may_end_a_loops_body() -> None:
    # LLVM refused the debug location that TVM leaves behind there.
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        with (
            emitter.parallel(3, "task") as task,
            emitter.loop(8, "i") as i,
            emitter.function("element"),
        ):
            emitter.store(y, load(x, task * 8 + i), [task * 8 + i])

    assert run(write).tolist() == list(range(SIZE))


@pytest.mark.parametrize(
    ("options", "instruction"),
    [
        ({}, "prefetcht0"),
        ({"level": 2}, "prefetcht1"),
        ({"write": True}, "prefetchw"),
    ],
)
@pytest.mark.skipif(NATIVE.architecture != "x86_64", reason="names x86's instructions")
def test_prefetches_are_hints(options: dict[str, int], instruction: str) -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        emitter.prefetch(x, 1_000_000, **options)
        emitter.store(y, load(x, 3), [3])

    kernel = compiled(write)
    assert instruction in kernel.assembly
    assert written(kernel(np.arange(SIZE, dtype=np.float32), shape=(SIZE,))) == [3]


@pytest.mark.parametrize(("opaque", "reads"), [(False, 1), (True, 3)])
def test_what_is_read_at_opaque_zeros_is_read_each_time(opaque: bool, reads: int) -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        zeros = emitter.opaque_zeros(reads) if opaque else [index(0)] * 3
        for at, zero in enumerate(zeros):
            # Without a store between that may change it, LLVM reads a value once.
            emitter.store(y, load(x, zero + index(5)) * float(at + 1), [at])

    kernel = compiled(write)
    result = kernel(np.arange(SIZE, dtype=np.float32), shape=(SIZE,))
    np.testing.assert_array_equal(result[:3], [5, 10, 15])
    code = str(kernel.executable.mod.inspect_source("ll"))
    assert len(re.findall(r"load volatile i64", code)) == (reads if opaque else 0)
    assert len(re.findall(r"= load float", code)) == reads


def test_an_open_loop_is_a_mistake() -> None:
    emitter = Emitter()
    with emitter.loop(3, "i"), pytest.raises(AssertionError, match="still open"):
        emitter.body()


def test_a_finished_prim_func_says_what_it_is() -> None:
    function = prim_func([], Emitter().body(), name="main", family="matmul", operations=12)
    attributes = dict(function.attrs)
    # Without the promise that buffers do not overlap accumulators go to memory and back.
    assert attributes["tirx.noalias"]
    assert attributes["tirx.is_scheduled"]
    assert (attributes[FAMILY], attributes[OPERATIONS]) == ("matmul", 12)
    assert attributes["global_symbol"] == "main"


def test_a_loop_may_begin_where_an_outer_loop_is() -> None:
    def write(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
        with (
            emitter.loop(3, "outer", start=2) as outer,
            emitter.loop(2, "inner", start=outer * index(4)) as inner,
        ):
            emitter.store(y, load(x, inner), [inner])

    assert written(run(write)) == [8, 9, 12, 13, 16, 17]
