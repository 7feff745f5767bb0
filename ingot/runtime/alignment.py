"""Arrays whose data begins where compiled code may load whole vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

# Bytes; compiled code may load vectors up to this size without a check.
ALIGNMENT = 64

Array = npt.NDArray[Any]


def aligned(array: Array) -> Array:
    """Returns an array as compiled code takes it, a view where it lies so already."""
    # DLPack cannot express a read-only array, and compiled code loads whole aligned vectors.
    if array.flags.c_contiguous and array.flags.writeable and array.ctypes.data % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Returns an uninitialized C-contiguous array whose data begins at an aligned address."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.empty(size + ALIGNMENT, dtype=np.uint8)
    offset = -buffer.ctypes.data % ALIGNMENT
    return buffer[offset : offset + size].view(dtype).reshape(shape)
