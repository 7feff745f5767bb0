"""Loading the TVM runtime library and an artifact's code, without the ``tvm`` package.

The runtime library is TVM's own ``libtvm_runtime.so`` (3.4 MB), which Ingot's wheel carries. Where
the compiler is installed too, its copy is taken, so that one process never holds two: a second
copy would register every global function twice.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tvm_ffi

from ingot.errors import ArtifactError, InputError, first_line

RUNTIME_LIBRARY = "libtvm_runtime.so"
_VM_LOADER = "vm_load_executable"
_CPU_DEVICE_TYPE = 1
_POOLED_ALLOCATOR = 2

# What compiled code raises where a check of its own fails.
tvm_ffi.register_error(InputError.__name__, InputError)


def _refuse(message: str, *values: int) -> None:
    raise InputError(message.format(*values))


tvm_ffi.register_global_func("ingot.refuse", _refuse, override=True)

_lock = threading.Lock()
_functions_lock = threading.Lock()
_handle: ctypes.CDLL | None = None


def runtime_library_path() -> Path:
    """Returns the path of the TVM runtime library that this process uses.

    Raises:
        ArtifactError: Neither the compiler's copy nor the wheel's own is there.
    """
    spec = importlib.util.find_spec("tvm")
    candidates = [Path(__file__).parent / "lib" / RUNTIME_LIBRARY]
    if spec is not None and spec.origin is not None:
        candidates.insert(0, Path(spec.origin).parent / "lib" / RUNTIME_LIBRARY)
    for path in candidates:
        if path.is_file():
            return path
    raise ArtifactError(
        f"the TVM runtime library {RUNTIME_LIBRARY} is missing from this installation: "
        "reinstall ingot from its wheel, or install ingot[compile]"
    )


def load_runtime_library() -> None:
    """Loads the TVM runtime library into the process once, with its symbols global.

    Raises:
        ArtifactError: It is missing, or cannot be loaded: no memory, another architecture.
    """
    global _handle
    with _lock:
        if _handle is None:
            path = runtime_library_path()
            try:
                _handle = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except OSError as error:
                raise ArtifactError(
                    f"the TVM runtime library cannot be loaded: {first_line(error)}"
                ) from error


def global_function(name: str) -> Callable[..., Any]:
    """Returns a function of the TVM runtime's registry by its name."""
    load_runtime_library()
    function: Callable[..., Any] = tvm_ffi.get_global_func(name)
    return function


def load_executable(
    code: memoryview, functions: Mapping[str, Callable[..., Any]] | None = None
) -> Any:
    """Loads an artifact's ``lib.so`` and returns its virtual machine, ready to be called.

    A shared library can only be loaded from a file, so the code is written to a private temporary
    one, which is unlinked as soon as it is loaded.

    Args:
        code: The bytes of the shared library.
        functions: What the code calls that it does not contain, by name.

    Raises:
        ArtifactError: The library cannot be loaded on this machine.
    """
    load_runtime_library()
    try:
        module = _load_module(code)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ArtifactError(
            f"the artifact's code cannot be loaded: {reason}; the folder for temporary files must "
            "have room and allow execution, see TMPDIR"
        ) from error
    try:
        machine = module[_VM_LOADER]()
        # The machine looks its functions up once, here: names of two artifacts do not meet.
        with _functions_lock, _registered(functions or {}):
            machine["vm_initialization"](
                _CPU_DEVICE_TYPE, 0, _POOLED_ALLOCATOR, _CPU_DEVICE_TYPE, 0, _POOLED_ALLOCATOR
            )
    except (AttributeError, RuntimeError) as error:
        raise ArtifactError(
            f"the artifact's code cannot be started: {first_line(error)}; free memory, or "
            "compile it again"
        ) from error
    return machine


def _load_module(code: memoryview) -> Any:
    handle, path = tempfile.mkstemp(prefix="ingot-", suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        return tvm_ffi.load_module(path, keep_module_alive=False)
    finally:
        os.unlink(path)  # noqa: PTH108 - as short as it can be: each load takes it


@contextlib.contextmanager
def _registered(functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    for name, function in functions.items():
        tvm_ffi.register_global_func(name, function, override=True)
    try:
        yield
    finally:
        for name in functions:
            tvm_ffi.remove_global_func(name)
