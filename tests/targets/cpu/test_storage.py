"""Small buffers are allocated in the machine function that uses them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func
from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.cpu.storage import rewrite_storage
from tests.targets.cpu.kernels.conftest import compile_kernel

SIZE = 16

Write = Callable[[Emitter, tirx.Buffer, tirx.Buffer], None]


def copy_through(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer, buffer: tirx.Buffer) -> None:
    with emitter.loop(SIZE, "i") as i:
        emitter.store(buffer, load(x, i), [i])
    with emitter.loop(SIZE, "j") as j:
        emitter.store(y, load(buffer, j) * 2.0, [j])


def private(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
    with emitter.parallel(2, "task"), emitter.function("part"):
        copy_through(emitter, x, y, emitter.allocate("own", [SIZE]))


def two_functions(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
    with emitter.parallel(2, "task"):
        for name in ("first", "second"):
            with emitter.function(name):
                copy_through(emitter, x, y, emitter.allocate("own", [SIZE]))


def large(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
    with emitter.parallel(2, "task"), emitter.function("part"):
        copy_through(emitter, x, y, emitter.allocate("own", [1000]))


def shared(emitter: Emitter, x: tirx.Buffer, y: tirx.Buffer) -> None:
    with emitter.parallel(2, "task"):
        buffer = emitter.allocate("between", [SIZE])
        with emitter.function("writer"), emitter.loop(SIZE, "i") as i:
            emitter.store(buffer, load(x, i), [i])
        with emitter.function("reader"), emitter.loop(SIZE, "j") as j:
            emitter.store(y, load(buffer, j) * 2.0, [j])


def kernel(write: Write) -> tirx.PrimFunc:
    x, y = (tirx.decl_buffer([index(SIZE)], "float32", name) for name in "xy")
    emitter = Emitter()
    write(emitter, x, y)
    return prim_func([x, y], emitter.body())


def functions_that_allocate(function: tirx.PrimFunc) -> list[str]:
    """Names of the machine functions that allocate a buffer, after storage was planned."""
    module = rewrite_storage(tvm.IRModule({"main": function}))
    names: list[str] = []

    def note(scope: statements.AttrStmt) -> None:
        tvm_ffi.structural_walk(
            scope.body, (statements.AllocBuffer, lambda _: names.append(scope.value.value))
        )

    tvm_ffi.structural_walk(module["main"].body, (statements.AttrStmt, note))
    return names


@pytest.mark.parametrize(
    ("write", "allocating"),
    [(private, ["part_1"]), (two_functions, ["first_1", "second_2"]), (large, []), (shared, [])],
)
def test_a_buffer_is_allocated_where_it_is_private_and_small(
    write: Write, allocating: list[str]
) -> None:
    assert functions_that_allocate(kernel(write)) == allocating


@pytest.mark.parametrize("write", [private, two_functions, large, shared])
def test_the_code_computes_the_same(write: Write) -> None:
    compiled = compile_kernel(kernel(write), describe_cpu("native", threads=2))
    x = np.arange(SIZE, dtype=np.float32)
    np.testing.assert_array_equal(compiled(x, shape=(SIZE,)), 2 * x)
