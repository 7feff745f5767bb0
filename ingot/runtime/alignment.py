"""Memory whose address is a multiple of what compiled code assumes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Bytes; compiled code may load vectors up to this size without a check.
ALIGNMENT = 64


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """Returns an uninitialized C-contiguous array whose data begins at an aligned address."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.empty(size + ALIGNMENT, dtype=np.uint8)
    offset = -buffer.ctypes.data % ALIGNMENT
    return buffer[offset : offset + size].view(dtype).reshape(shape)
