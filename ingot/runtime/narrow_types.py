"""Tensors of types that NumPy lacks, between ml_dtypes arrays and compiled code.

Code holds bfloat16 as such, a float of 4 or 8 bits as the byte that encodes it, and an integer of
2 or 4 bits in a byte of its own. Arrays on their way to it and back are of integers of these sizes.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ingot.runtime.alignment import aligned_empty

Array = np.ndarray[Any, np.dtype[Any]]

# What code holds a type in, where that is not the type itself.
HELD_AS = {
    "float8_e4m3fn": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e5m2": "uint8",
    "float8_e5m2fnuz": "uint8",
    "float4_e2m1fn": "uint8",
    "int4": "int8",
    "uint4": "uint8",
    "int2": "int8",
    "uint2": "uint8",
}
_BFLOAT16 = "bfloat16"


@functools.lru_cache(maxsize=64)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """The dtype's name; NumPy works it out at every call."""
    return dtype.name


def held_dtype(name: str) -> np.dtype[Any]:
    """Returns the dtype of arrays in which code takes and gives a type, by the type's name."""
    return np.dtype("uint16" if name == _BFLOAT16 else HELD_AS.get(name, name))


def to_code(array: Array) -> Array:
    """Returns an array as compiled code takes it, without a copy where it can be."""
    name = dtype_name(array.dtype)
    if name == _BFLOAT16:
        return array.view(np.uint16)
    if name not in HELD_AS:
        return array
    if name.startswith("float"):
        return array.view(held_dtype(name))
    # What lies above an integer's own bits in its byte is not defined.
    held = aligned_empty(array.shape, held_dtype(name))
    held[...] = array
    return held


def from_code(array: Array, dtype: str) -> Array:
    """Returns an output of compiled code as an array of a dtype, by its name.

    Raises:
        ModuleNotFoundError: The dtype is one of ml_dtypes, which is not installed.
    """
    if dtype == _BFLOAT16:
        return array.view(named_dtype(dtype))
    if dtype not in HELD_AS:
        return array
    wanted = named_dtype(dtype)
    return array.astype(wanted) if dtype.startswith(("int", "uint")) else array.view(wanted)


def named_dtype(name: str) -> np.dtype[Any]:
    """Returns NumPy's or ml_dtypes' dtype of a name."""
    if name == _BFLOAT16 or name in HELD_AS:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)
