"""Tensors in the safetensors format, mapped rather than read.

Format: an 8-byte little-endian header length, a JSON header that gives each tensor's dtype, shape
and byte range, then the bytes (https://github.com/huggingface/safetensors). Ingot's files keep the
data and every tensor 64-byte aligned by padding the header with spaces and by small tensors named
``__pad__N``, so that a mapped tensor can be handed to vector code as it is.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ArtifactError
from ingot.runtime.narrow_weights import Narrow

PADDING_PREFIX = "__pad__"
METADATA = "__metadata__"
# Where the metadata tells of tensors that are stored in a shorter type; see ``narrow_weights``.
NARROW = "narrow"
_HEADER_LENGTH = struct.Struct("<Q")

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


def map_tensors(data: memoryview) -> dict[str, npt.NDArray[Any]]:
    """Returns views of the tensors of a safetensors file that lies in memory or is mapped.

    Tensors that are stored in a shorter type are no views, but arrays of their own.

    Args:
        data: The whole file. The arrays share its memory and keep it alive.

    Raises:
        ArtifactError: The header is damaged.
    """
    try:
        (length,) = _HEADER_LENGTH.unpack_from(data)
        start = _HEADER_LENGTH.size + length
        header = json.loads(bytes(data[_HEADER_LENGTH.size : start]))
        body = data[start:]
        tensors = {
            name: _view(body, entry)
            for name, entry in header.items()
            if name != METADATA and not name.startswith(PADDING_PREFIX)
        }
        facts = json.loads(header.get(METADATA, {}).get(NARROW, "{}"))
        found = {name: Narrow.of(name, fact, tensors) for name, fact in facts.items()}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"the artifact's weights have a damaged header: {error}") from error
    for name, narrow in found.items():
        for suffix in narrow.tensors:
            del tensors[f"{name}{suffix}"]
        tensors[name] = narrow.expand()
    return tensors


def _view(body: memoryview, entry: dict[str, Any]) -> npt.NDArray[Any]:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(DTYPES[entry["dtype"]])
    view: npt.NDArray[Any] = np.frombuffer(body[begin:end], dtype=dtype).reshape(entry["shape"])
    return view
