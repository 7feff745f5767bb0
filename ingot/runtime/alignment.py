"""Arrays whose data begins where compiled code may load whole vectors."""

from __future__ import annotations

import ctypes
import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64
"""Bytes at a multiple of which each array begins that Ingot makes: a cache line."""
CALLERS_ALIGNMENT = 16
"""Bytes at a multiple of which code requires its tensors to begin: what memory allocators give, so
that a caller's arrays are used where they lie."""

Array = npt.NDArray[Any]


def address_of(array: Array) -> int:
    """Returns where an array's data begins."""
    return _address_of_buffer(array) or int(array.ctypes.data)


def readable_address(array: Array) -> int:
    """Returns where an array's data begins if code can read it there for certain, else 0."""
    address = _address_of_buffer(array)
    return 0 if address % CALLERS_ALIGNMENT else address


def _address_of_buffer(array: Array) -> int:
    """The address of a C-contiguous array; 0 where it cannot be had this way.

    It takes a fifth of ``array.ctypes.data``, of which small networks feel a few.
    """
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(cast("Any", array)))
    except (BufferError, TypeError, ValueError):
        # It is read-only, empty, not contiguous or of a type that buffers do not know.
        return 0


def aligned(array: Array) -> Array:
    """Returns an array as compiled code takes it, a view where it lies so already."""
    if array.flags.c_contiguous and address_of(array) % CALLERS_ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Returns an uninitialized C-contiguous array whose data begins at an aligned address."""
    return aligned_memory(shape, dtype, math.prod(shape) * dtype.itemsize)[0]


def aligned_memory(shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> tuple[Array, int]:
    """Returns an uninitialized C-contiguous array of so many bytes, and the address of its data."""
    buffer = np.empty(size + ALIGNMENT, np.uint8)
    begin = address_of(buffer)
    offset = -begin % ALIGNMENT
    return np.ndarray(shape, dtype, buffer, offset), begin + offset
