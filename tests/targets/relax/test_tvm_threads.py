"""TVM's own pool, for kernels that the compiler runs, has the threads that were asked for."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys

import numpy as np
import pytest
import tvm
from tvm.script import tirx as T

from ingot.errors import UsageError
from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.relax.tvm_threads import use_threads


@pytest.fixture(scope="module")
def who_runs() -> tvm.runtime.Executable:
    """Compiled code of a parallel loop: each iteration stores the thread that runs it."""

    @T.prim_func
    def who(threads: T.Buffer((4,), "uint64")):
        T.func_attr({"tirx.noalias": True})
        for i in T.parallel(4):
            threads[i] = T.call_extern("uint64", "pthread_self")

    return tvm.compile(tvm.IRModule({"who": who}), describe_cpu("native", None).tvm_target())


def threads_in_use(threads: int) -> int:
    use_threads(threads)
    return int(tvm.get_global_func("runtime.NumThreads")())


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_fresh_thread_gets_the_number_asked_for(threads: int) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert executor.submit(threads_in_use, threads).result() == threads


def test_the_number_can_change_up_and_down() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        asked = [2, 1, 4, 1]
        assert [executor.submit(threads_in_use, n).result() for n in asked] == asked


def test_more_than_the_pool_holds_is_refused() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        executor.submit(use_threads, 1).result()
        with pytest.raises(UsageError, match="this thread's pool was made for"):
            executor.submit(use_threads, 1000).result()


@pytest.mark.parametrize(("threads", "runners"), [(1, 1), (2, 2), (4, 4)])
@pytest.mark.parametrize("inherited", [None, "1"])
def test_a_parallel_loop_runs_on_as_many_threads(
    who_runs: tvm.runtime.Executable,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    runners: int,
    inherited: str | None,
) -> None:
    """Also where TVM would by itself make pools of one: a machine of two cores, or its variable."""
    monkeypatch.delenv("TVM_NUM_THREADS", raising=False)
    if inherited is not None:
        monkeypatch.setenv("TVM_NUM_THREADS", inherited)

    def distinct_runners() -> int:
        use_threads(threads)
        found = tvm.runtime.tensor(np.zeros(4, np.uint64))
        who_runs["who"](found)
        return len(set(found.numpy().tolist()))

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert executor.submit(distinct_runners).result() == runners


@pytest.mark.parametrize(("given", "expected"), [(None, "10000"), ("77", "77")])
def test_idle_workers_give_up_early_unless_the_caller_says_otherwise(
    given: str | None, expected: str
) -> None:
    variable = "TVM_THREAD_POOL_SPIN_COUNT"
    environment = {name: value for name, value in os.environ.items() if name != variable}
    if given is not None:
        environment[variable] = given
    code = (
        "import os; from ingot.targets.relax.tvm_threads import use_threads; use_threads(2); "
        f"print(os.environ['{variable}'])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == expected
