"""Tensors in the safetensors format, mapped rather than read.

Format: an 8-byte little-endian header length, a JSON header that gives each tensor's dtype, shape
and byte range, then the bytes (https://github.com/huggingface/safetensors). Ingot's files keep the
data and every tensor 64-byte aligned by padding the header with spaces and by small tensors named
``__pad__N``, so that a mapped tensor can be handed to vector code as it is.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ArtifactError
from ingot.runtime.alignment import ALIGNMENT, aligned_empty
from ingot.runtime.manifest import WeightSpec
from ingot.runtime.narrow_weights import Facts, Narrow
from ingot.runtime.typed_json import decode, parse_json

Array = npt.NDArray[Any]

PADDING_PREFIX = "__pad__"
METADATA = "__metadata__"
# Where the metadata tells of tensors that are stored in a shorter type; see ``narrow_weights``.
NARROW = "narrow"
_HEADER_LENGTH = struct.Struct("<Q")
_HIGHEST_RANK = 32

DTYPES: dict[str, str] = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What a header says of a tensor; the format's own words."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, ...]


def load_weights(data: memoryview, expected: Mapping[str, WeightSpec]) -> dict[str, Array]:
    """Returns the weights of an artifact, each as the code expects it.

    Args:
        data: The whole safetensors file, in memory or mapped. Weights that lie aligned in it are
            views, which share its memory and keep it alive; others are copies.
        expected: What the manifest says of each weight.

    Raises:
        ArtifactError: The header is damaged, a weight is missing, or is not what is expected.
    """
    tensors = map_tensors(data, expected)
    for name, spec in expected.items():
        if name not in tensors:
            raise ArtifactError(f"the artifact is damaged: weight {name!r} is missing")
        found = WeightSpec(tensors[name].dtype.name, tensors[name].shape)
        if found != spec:
            raise ArtifactError(
                f"the artifact is damaged: weight {name!r} is {found}, its code takes {spec}"
            )
    return {name: _aligned(tensors[name]) for name in expected}


def _aligned(array: Array) -> Array:
    if array.ctypes.data % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def map_tensors(
    data: memoryview, expected: Mapping[str, WeightSpec] | None = None
) -> dict[str, Array]:
    """Returns views of the tensors of a safetensors file that lies in memory or is mapped.

    Tensors that are stored in a shorter type are no views, but arrays of their own.

    Args:
        data: The whole file. The arrays share its memory and keep it alive.
        expected: What is known of the tensors; one of another shape is not made longer.

    Raises:
        ArtifactError: The header is damaged.
    """
    try:
        entries, metadata, body = _read_header(data)
        tensors = {
            name: _view(body, entry)
            for name, entry in entries.items()
            if not name.startswith(PADDING_PREFIX)
        }
        facts: dict[str, Facts] = decode(
            Mapping[str, Facts], parse_json(metadata.get(NARROW, "{}").encode()), NARROW
        )
        narrow = {name: Narrow.of(name, fact, tensors) for name, fact in facts.items()}
        for name, found in narrow.items():
            if expected is not None and expected.get(name) != WeightSpec("float32", found.shape):
                raise ValueError(f"{name!r} is a float32 of another shape, or not expected at all")
    except ValueError as error:
        raise ArtifactError(f"the artifact's weights have a damaged header: {error}") from error
    for name, found in narrow.items():
        for suffix in found.tensors:
            del tensors[f"{name}{suffix}"]
        tensors[name] = found.expand()
    return tensors


def _read_header(data: memoryview) -> tuple[dict[str, _Entry], dict[str, str], memoryview]:
    """Returns what the header says of each tensor, the metadata, and the bytes behind it.

    Raises:
        ValueError: The header is damaged, or tensors do not fill the bytes one behind the other.
    """
    if len(data) < _HEADER_LENGTH.size:
        raise ValueError("the file is too short")
    (length,) = _HEADER_LENGTH.unpack_from(data)
    start = _HEADER_LENGTH.size + length
    if start > len(data):
        raise ValueError("it ends behind the file")
    header = parse_json(data[_HEADER_LENGTH.size : start])
    if not isinstance(header, dict):
        raise ValueError("it is not an object")
    metadata: dict[str, str] = decode(Mapping[str, str], header.pop(METADATA, {}), METADATA)
    entries: dict[str, _Entry] = decode(Mapping[str, _Entry], header, "tensor")
    body = data[start:]
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        if len(entry.data_offsets) != 2 or entry.data_offsets[0] != position:
            raise ValueError(f"tensor {name!r} does not begin where the one before it ends")
        position = entry.data_offsets[1]
        if not 0 <= position <= len(body):
            raise ValueError(f"tensor {name!r} ends outside of the file")
        if entry.dtype not in DTYPES:
            raise ValueError(f"tensor {name!r} has the unknown dtype {entry.dtype!r}")
        if len(entry.shape) > _HIGHEST_RANK or any(size < 0 for size in entry.shape):
            raise ValueError(f"tensor {name!r} has an impossible shape")
        if (
            math.prod(entry.shape) * np.dtype(DTYPES[entry.dtype]).itemsize
            != position - entry.data_offsets[0]
        ):
            raise ValueError(f"tensor {name!r} has other bytes than its shape takes")
    if position != len(body):
        raise ValueError("there are bytes that belong to no tensor")
    return entries, metadata, body


def _view(body: memoryview, entry: _Entry) -> Array:
    begin, end = entry.data_offsets
    dtype = np.dtype(DTYPES[entry.dtype])
    view: Array = np.frombuffer(body[begin:end], dtype=dtype).reshape(entry.shape)
    return view
