"""Tasks are shared among threads where that pays, and each is done exactly once either way."""

from __future__ import annotations

import numpy as np
import pytest
import tvm_ffi
from tvm import tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, splat
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.kernels.conftest import compile_kernel

SERIAL, PARALLEL = statements.ForKind.SERIAL, statements.ForKind.PARALLEL
NATIVE = describe_cpu("native", threads=2)
MUCH = NATIVE.launch_operations
LITTLE = MUCH - 1


def kinds_of_loops(body: tirx.Stmt) -> list[int]:
    kinds: list[int] = []
    tvm_ffi.structural_walk(body, (statements.For, lambda loop: kinds.append(loop.kind)))
    return kinds


def counting(tasks: int | tirx.Expr, operations: int | tirx.Expr, counts: tirx.Buffer) -> Emitter:
    """Tasks that each count themselves."""
    emitter = Emitter()

    def count(task: tirx.Expr) -> None:
        emitter.store(counts, load(counts, task) + splat(1.0, 1), [task])

    share_tasks(emitter, tasks, operations, count, NATIVE)
    return emitter


@pytest.mark.parametrize(
    ("tasks", "operations", "kinds"),
    [
        pytest.param(7, MUCH, [PARALLEL], id="much to do"),
        pytest.param(7, LITTLE, [SERIAL], id="less than waking the threads costs"),
        pytest.param(1, MUCH, [], id="one task is no loop"),
    ],
)
def test_work_known_in_advance(tasks: int, operations: int, kinds: list[int]) -> None:
    counts = tirx.decl_buffer([index(tasks)], "float32", "counts")
    assert kinds_of_loops(counting(tasks, operations, counts).body()) == kinds


@pytest.mark.parametrize("operations_per_task", [1, MUCH // 5, MUCH])
def test_each_task_is_done_once_whatever_the_number(operations_per_task: int) -> None:
    tasks = tirx.Var("tasks", "int64")
    counts = tirx.decl_buffer([tasks], "float32", "counts")
    source = tirx.decl_buffer([tasks], "float32", "source")
    body = counting(tasks, tasks * index(operations_per_task), counts).body()
    assert sorted(kinds_of_loops(body)) == [SERIAL, PARALLEL]
    zero = Emitter()
    with zero.loop(tasks, "i") as i:
        zero.store(counts, splat(0.0, 1), [i])
    zero.emit(body)
    kernel = compile_kernel(prim_func([source, counts], zero.body()), describe_cpu("native", 2))
    for number in (1, 4, 5, 6, 50):
        result = kernel(np.zeros(number, np.float32), shape=(number,))
        assert result.tolist() == [1.0] * number
