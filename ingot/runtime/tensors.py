"""Tensors of a program as NumPy arrays, and the other way."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import IngotError
from ingot.runtime.native_library import Tensor
from ingot.runtime.program import type_code

Array = npt.NDArray[Any]

# By DLPack's codes.
_KINDS = {0: "int", 1: "uint", 2: "float", 5: "complex"}
_BFLOAT, _BOOL = 4, 6


def array_of(tensor: Tensor, dtype: np.dtype[Any] | None = None) -> Array:
    """Returns a view of a tensor's memory, which has to outlive it.

    Args:
        tensor: The tensor.
        dtype: Of the array; by default that of the tensor, and uint16 for bfloat16.
    """
    if dtype is None:
        dtype = _dtype(tensor)
    shape = tensor.sizes
    count = math.prod(shape) * dtype.itemsize
    if not count:
        return np.empty(shape, dtype)
    memory = (ctypes.c_uint8 * count).from_address(tensor.data + tensor.byte_offset)
    array: Array = np.frombuffer(memoryview(memory).cast("B"), dtype)
    return array.reshape(shape)


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    if tensor.code == _BOOL:
        return np.dtype(np.bool_)
    if tensor.code == _BFLOAT:
        return np.dtype(np.uint16)
    return np.dtype(f"{_KINDS[tensor.code]}{tensor.bits}")


def point_to(tensor: Tensor, array: Array) -> None:
    """Has a tensor of a program, of any rank if it is negative, be an array that outlives its use.

    Raises:
        IngotError: The array is of another type or rank.
    """
    code, bits = type_code(array.dtype.name)
    if tensor.code == _BFLOAT and array.dtype == np.uint16:
        code = _BFLOAT
    if tensor.rank < 0:
        tensor.rank = array.ndim
    if (tensor.code, tensor.bits, tensor.rank) != (code, bits, array.ndim):
        raise IngotError(
            f"a region returned {array.dtype.name} of rank {array.ndim} where the artifact's code "
            "takes another type: compile it again"
        )
    tensor.data = array.ctypes.data
    for axis, size in enumerate(array.shape):
        tensor.shape[axis] = size
