"""Frames between a report and its workers: a JSON header, then the arrays it names, raw."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

_LENGTH = struct.Struct("<I")
# Bytes. Engines load whole vectors from aligned inputs; all are given the same alignment.
_ALIGNMENT = 64


def write_frame(
    stream: IO[bytes], header: Mapping[str, Any], arrays: Mapping[str, Array] | None = None
) -> None:
    """Writes one frame and flushes it.

    Raises:
        TypeError: An array's dtype is none of NumPy's own numbers.
    """
    contiguous = {name: np.asarray(array, order="C") for name, array in (arrays or {}).items()}
    for name, array in contiguous.items():
        if array.dtype.kind not in "biufc":
            raise TypeError(f"{name} has dtype {array.dtype}, which cannot be sent as raw numbers")
    described = [[name, array.dtype.str, array.shape] for name, array in contiguous.items()]
    text = json.dumps({**header, "arrays": described}).encode()
    stream.write(_LENGTH.pack(len(text)))
    stream.write(text)
    for array in contiguous.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """Reads one frame; None when the other side has closed the stream before its end."""
    length = stream.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(length)
    text = stream.read(size)
    if len(text) < size:
        return None
    header: dict[str, Any] = json.loads(text)
    arrays: dict[str, Array] = {}
    for name, dtype, shape in header.pop("arrays"):
        array = _aligned_empty(tuple(shape), np.dtype(dtype))
        if array.size and stream.readinto(array.reshape(-1).view(np.uint8).data) < array.nbytes:  # type: ignore[attr-defined]
            return None
        arrays[name] = array
    return header, arrays


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    buffer = np.empty(size + _ALIGNMENT, dtype=np.uint8)
    offset = -buffer.ctypes.data % _ALIGNMENT
    return buffer[offset : offset + size].view(dtype).reshape(shape)
