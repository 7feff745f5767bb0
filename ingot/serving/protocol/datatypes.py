"""The protocol's names of types, and tensors as its bytes.

Open Inference Protocol: https://github.com/kserve/open-inference-protocol; the layout of raw
tensors is that of the binary tensor data extension.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.manifest import STRING_DTYPE
from ingot.runtime.narrow_types import named_dtype
from ingot.serving.requests import Cause, RefusedError

Array = npt.NDArray[Any]

BYTES = "BYTES"
_DTYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "BF16": "bfloat16",
    "FP32": "float32",
    "FP64": "float64",
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()} | {STRING_DTYPE: BYTES}
_LENGTH = struct.Struct("<I")


def datatype_of(dtype: str) -> str:
    """Returns the protocol's name of a dtype; the dtype's own where the protocol has none."""
    return _NAMES.get(dtype, dtype.upper())


def dtype_of(datatype: str, tensor: str) -> np.dtype[Any]:
    """Returns the dtype of arrays of a protocol's type.

    Raises:
        RefusedError: There is no such type.
    """
    if datatype == BYTES:
        return np.dtype(object)
    if datatype not in _DTYPES:
        raise _invalid(f"tensor '{tensor}' has datatype '{datatype}', which is none of {_known()}")
    return named_dtype(_DTYPES[datatype])


def checked_shape(shape: Any, tensor: str) -> tuple[int, ...]:
    """Returns a shape as a tuple.

    Raises:
        RefusedError: It is no list of sizes.
    """
    if not isinstance(shape, (list, tuple)) or len(shape) > _MOST_AXES:
        raise _invalid(f"tensor '{tensor}' needs a shape: a list of at most {_MOST_AXES} sizes")
    for size in shape:
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST:
            raise _invalid(f"tensor '{tensor}' has {str(size)[:40]!r} for a size in its shape")
    return tuple(shape)


_MOST_AXES = 32
_LARGEST = (1 << 31) - 1


def from_raw(raw: memoryview | bytes, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """Returns a tensor from its bytes, numbers without a copy.

    Raises:
        RefusedError: The bytes are not those of such a tensor.
    """
    dtype = dtype_of(datatype, name)
    count = math.prod(shape)
    if datatype == BYTES:
        return _strings(raw, count, name).reshape(shape)
    expected = count * dtype.itemsize
    if len(raw) != expected:
        raise _invalid(
            f"tensor '{name}' of {datatype}{list(shape)} takes {expected} bytes, "
            f"and {len(raw)} came"
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def _strings(raw: memoryview | bytes, count: int, name: str) -> Array:
    view = memoryview(raw)
    # Each string is at least its length's bytes: so a wrong shape allocates nothing.
    if count > len(view) // _LENGTH.size:
        raise _invalid(f"the bytes of tensor '{name}' are too few for {count} strings")
    strings = np.empty(count, object)
    at = 0
    for index in range(count):
        if at + _LENGTH.size > len(view):
            raise _invalid(f"tensor '{name}' ends within its string {index}")
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        if at + length > len(view):
            raise _invalid(f"tensor '{name}' ends within its string {index}")
        strings[index] = _text(bytes(view[at : at + length]), name)
        at += length
    if at != len(view):
        raise _invalid(f"tensor '{name}' has {len(view) - at} bytes behind its last string")
    return strings


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid(f"tensor '{name}' has a string that is not UTF-8") from None


def to_raw(array: Array) -> bytes | memoryview:
    """Returns a tensor's bytes, numbers without a copy where they lie in order."""
    if array.dtype.kind in "OUST":
        pieces = [str(text).encode("utf-8") for text in array.ravel().tolist()]
        return b"".join(_LENGTH.pack(len(piece)) + piece for piece in pieces)
    flat = np.ascontiguousarray(array).reshape(-1)
    return memoryview(flat.view(np.uint8).data)


def from_values(values: Any, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """Returns a tensor from numbers or strings, nested by its shape or flat.

    Raises:
        RefusedError: They are no tensor of that type and shape.
    """
    dtype = dtype_of(datatype, name)
    if not isinstance(values, (list, tuple)):
        raise _invalid(f"the data of tensor '{name}' has to be a list")
    try:
        if datatype == BYTES:
            array = np.array(values, object)
            if not all(isinstance(each, str) for each in array.ravel().tolist()):
                raise ValueError
        else:
            array = _numbers(values, dtype)
    except (ValueError, TypeError, OverflowError, MemoryError, RecursionError):
        raise _invalid(f"the data of tensor '{name}' are not values of {datatype}") from None
    if array.size != math.prod(shape):
        raise _invalid(
            f"tensor '{name}' of shape {list(shape)} has {math.prod(shape)} elements, and "
            f"{array.size} came"
        )
    return array.reshape(shape)


def _numbers(values: Sequence[Any], dtype: np.dtype[Any]) -> Array:
    """Numbers as a type holds them: a fraction is no integer, a number no truth value."""
    array = np.array(values)
    if array.size == 0:
        return np.zeros(array.shape, dtype)
    if array.dtype.kind not in "biuf":
        raise ValueError
    if dtype.kind == "b" and array.dtype.kind != "b":
        raise ValueError
    if dtype.kind in "iu":
        if array.dtype.kind not in "iu":
            raise ValueError
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise ValueError
    return array.astype(dtype)


def to_values(array: Array) -> list[Any]:
    """Returns a tensor's elements as a flat list of numbers or strings."""
    flat = array.reshape(-1)
    if array.dtype.kind == "V" or array.dtype.name == "bfloat16":
        flat = flat.astype(np.float32)
    values: list[Any] = flat.tolist()
    return values


def _known() -> str:
    return ", ".join((*_DTYPES, BYTES))


def _invalid(message: str) -> RefusedError:
    return RefusedError(Cause.INVALID, message)
