"""The guarded process: loads artifacts and runs them on what it is sent, all in guarded memory.

Requests and answers are pickled: ``(path, inputs)``, and the outputs or the error's type and text.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
import pickle
import sys
import weakref
from typing import Any

import numpy as np

from ingot.errors import IngotError
from ingot.runtime import execution
from ingot.runtime.native_library import GUARDED
from ingot.runtime.session import Session

_LIBC = ctypes.CDLL(None)


def guarded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns a copy that lies between inaccessible pages."""
    array = np.asarray(array)
    copy = guarded_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def guarded_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Returns an array that lies between inaccessible pages."""
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return np.empty(shape, dtype)
    start = ctypes.c_void_p()
    assert _LIBC.posix_memalign(ctypes.byref(start), 64, ctypes.c_size_t(size)) == 0
    assert start.value is not None
    memory = (ctypes.c_char * size).from_address(start.value)
    weakref.finalize(memory, _LIBC.free, start)  # looks at what is around it
    return np.frombuffer(memory, dtype).reshape(shape)


def load(path: str) -> Session:
    """Loads an artifact, its weights in guarded memory too."""
    session = Session(path, threads=1)
    session._weights = [guarded(weight) for weight in session._weights]
    session._options = dataclasses.replace(session._options, arena_flags=GUARDED)
    return session


def touch(array: np.ndarray[Any, Any], offset: int, *, write: bool) -> None:
    """Reads or writes a byte at an offset from an array's end."""
    address = array.ctypes.data + array.nbytes + offset
    byte = ctypes.c_char.from_address(address)
    if write:
        byte.value = b"\0"
    else:
        bytes(byte)


def main() -> None:
    """Answers requests until there is no more."""
    execution.aligned_empty = guarded_empty  # for outputs
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
