"""The guarded process: loads artifacts and runs them on what it is sent, all in guarded memory.

Requests and answers are pickled: ``(path, inputs)``, and the outputs or the error's type and text.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import sys
from typing import Any

import numpy as np
import tvm_ffi

from ingot.errors import IngotError
from ingot.runtime import library
from ingot.runtime.session import Session

# Of TVM's allocators the one that keeps nothing: each tensor has memory of its own.
_NAIVE_ALLOCATOR = 1
_LIBC = ctypes.CDLL(None)


def guarded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns a copy that lies between inaccessible pages."""
    array = np.asarray(array)
    if not array.size:
        return array
    start = ctypes.c_void_p()
    assert _LIBC.posix_memalign(ctypes.byref(start), 64, ctypes.c_size_t(array.nbytes)) == 0
    assert start.value is not None
    memory = (ctypes.c_char * array.nbytes).from_address(start.value)
    copy = np.frombuffer(memory, array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def load(path: str) -> Session:
    """Loads an artifact, its weights in guarded memory too."""
    session = Session(path, threads=1)
    weights = [guarded(np.from_dlpack(weight)) for weight in session._weights]
    session._weights = [tvm_ffi.from_dlpack(weight) for weight in weights]
    return session


def touch(array: np.ndarray[Any, Any], offset: int, *, write: bool) -> None:
    """Reads or writes a byte at an offset from an array's end."""
    address = array.ctypes.data + array.nbytes + offset
    byte = ctypes.c_char.from_address(address)
    if write:
        byte.value = b"\0"
        _LIBC.free(ctypes.c_void_p(array.ctypes.data))
    else:
        bytes(byte)


def main() -> None:
    """Answers requests until there is no more."""
    library._POOLED_ALLOCATOR = _NAIVE_ALLOCATOR
    sessions: dict[str, Session] = {}
    answers = os.fdopen(os.dup(1), "wb")
    while True:
        try:
            path, inputs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            if path == "touch":
                touch(guarded(np.zeros(inputs[0], np.int8)), inputs[1], write=inputs[2])
            if path not in sessions and path != "touch":
                sessions[path] = load(path)
            answer: Any = path
            if path in sessions:
                given = {name: guarded(array) for name, array in inputs.items()}
                answer = {k: np.array(v) for k, v in sessions[path].run(given).items()}
        except IngotError as error:
            answer = (type(error).__name__, str(error))
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
