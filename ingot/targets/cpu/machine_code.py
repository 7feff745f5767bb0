"""Machine code of prim funcs: each by itself, several at a time.

A kernel's code depends on nothing but the kernel. So it is the same on any number of cores, and the
same when it comes out of a cache.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.tir_pipeline import TIR_PIPELINE

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def object_files(
    kernels: Mapping[str, tirx.PrimFunc],
    target: tvm.target.Target,
    threads: int,
    keep: Callable[[str, bytes], None],
) -> dict[str, bytes]:
    """Generates an object file for each kernel.

    Args:
        kernels: Prim funcs by the symbol that the object file is to define.
        target: What code is generated for.
        threads: How many are worked on at a time.
        keep: Told each symbol and its file, by the thread that made it.
    """

    def generate(symbol: str) -> bytes:
        file = _object_file(symbol, kernels[symbol], target)
        keep(symbol, file)
        return file

    # The longest last would have all others wait for it.
    symbols = sorted(kernels, key=lambda symbol: -_length(kernels[symbol]))
    return dict(zip(symbols, in_threads(generate, symbols, threads), strict=True))


def _length(kernel: tirx.PrimFunc) -> int:
    """How long a kernel is, by its stores: what generating its code takes grows with it."""
    count = 0

    def visit(_: statements.BufferStore) -> None:
        nonlocal count
        count += 1

    tvm_ffi.structural_walk(kernel.body, (statements.BufferStore, visit))
    return count


def _object_file(symbol: str, kernel: tirx.PrimFunc, target: tvm.target.Target) -> bytes:
    module = tvm.IRModule({tvm.ir.GlobalVar(symbol): kernel.with_attr("global_symbol", symbol)})
    # Both are a thread's own in TVM, and a caller may have set its.
    with tvm.transform.PassContext(), target:
        library = tvm.tirx.build(module, target, pipeline=TIR_PIPELINE)
    # In memory: LLVM ends the process where a disk is full.
    descriptor = os.memfd_create(symbol)
    try:
        library.write_to_file(f"/proc/self/fd/{descriptor}", "o")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return file.read()
    finally:
        os.close(descriptor)


def in_threads(
    work: Callable[[_Item], _Result], items: Sequence[_Item], threads: int
) -> list[_Result]:
    """Applies a function to items, in several threads; the caller is one of them.

    TVM releases Python's lock wherever it is not in Python code. Where the system gives no more
    threads, those that there are do all of the work.

    Args:
        work: The function.
        items: What it is applied to; begun in order.
        threads: How many threads work at most.

    Returns:
        The results, in the items' order.

    Raises:
        Exception: What the function raised for the first item where it did; no more are begun then.
    """
    results: dict[int, _Result] = {}
    errors: dict[int, BaseException] = {}
    waiting = iter(enumerate(items))
    taking, stopped = threading.Lock(), threading.Event()

    def run() -> None:
        while not stopped.is_set():
            with taking:
                taken = next(waiting, None)
            if taken is None:
                return
            index, item = taken
            try:
                results[index] = work(item)
            except BaseException as error:  # noqa: BLE001 - the caller raises it
                errors[index] = error
                stopped.set()

    helpers = _started(run, min(threads, len(items)) - 1)
    try:
        run()
        _join(helpers)
    except BaseException:  # Ctrl-C between two items: none is begun any more
        stopped.set()
        _join(helpers)
        raise
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(len(items))]


def _started(run: Callable[[], None], count: int) -> list[threading.Thread]:
    """Starts so many threads, or as many as the system gives."""
    threads = []
    for _ in range(count):
        thread = threading.Thread(target=run, name="ingot-compile")
        try:
            thread.start()
        except RuntimeError:  # no more for this process
            break
        threads.append(thread)
    return threads


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.join()
