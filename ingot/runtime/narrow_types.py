"""Tensors of types that DLPack or NumPy lack, between ml_dtypes arrays and compiled code.

Code holds bfloat16 as such, a float of 4 or 8 bits as the byte that encodes it, and an integer of
2 or 4 bits in a byte of its own. NumPy exports none of them, so that arrays pass as integers of
their size.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import tvm_ffi

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

# DLPack's codes of types, and where a tensor's description has its code.
_UNSIGNED, _BFLOAT, _CODE_OFFSET = 1, 4, 20


def to_code(array: Array) -> Any:
    """Returns an array as the tensor that compiled code takes, without a copy where it can be."""
    name = array.dtype.name
    if name in HELD_AS:
        return tvm_ffi.from_dlpack(_held(array, np.dtype(HELD_AS[name])))
    if name == _BFLOAT16:
        return tvm_ffi.from_dlpack(_Relabelled(array.view(np.uint16), _BFLOAT))
    return tvm_ffi.from_dlpack(array)


def from_code(tensor: Any, dtype: str) -> Array:
    """Returns an output of compiled code as an array of a dtype, by its name.

    Raises:
        ModuleNotFoundError: The dtype is one of ml_dtypes, which is not installed.
    """
    if dtype == _BFLOAT16:
        return np.from_dlpack(_Relabelled(tensor, _UNSIGNED)).view(named_dtype(dtype))
    array: Array = np.from_dlpack(tensor)
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


def _held(array: Array, dtype: np.dtype[Any]) -> Array:
    if array.dtype.name.startswith("float"):
        return array.view(dtype)
    # What lies above an integer's own bits in its byte is not defined.
    held = aligned_empty(array.shape, dtype)
    held[...] = array
    return held


class _Relabelled:
    """A tensor that exports its memory under another DLPack type of the same size."""

    def __init__(self, tensor: Any, code: int) -> None:
        self._tensor = tensor
        self._code = code

    def __dlpack__(self, **_options: Any) -> Any:
        capsule = self._tensor.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
        address = pointer(capsule, b"dltensor")
        ctypes.c_uint8.from_address(address + _CODE_OFFSET).value = self._code
        return capsule

    def __dlpack_device__(self) -> Any:
        return self._tensor.__dlpack_device__()
