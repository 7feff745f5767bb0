"""Messages of arrays between a server and the processes of its models.

A message is one of JSON, then one of bytes for each array that it names: as the protocol lays them
out, and neither pickled nor trusted to be. Numbers are read into the memory that the model takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.alignment import aligned_empty
from ingot.serving.protocol.datatypes import BYTES, datatype_of, dtype_of, from_raw, to_raw

Array = npt.NDArray[Any]


def send_arrays(
    connection: Connection[Any, Any], said: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Sends what is said, and arrays by their names.

    Raises:
        OSError: The other side is gone.
    """
    tensors, pieces = [], []
    for name, array in arrays.items():
        datatype = BYTES if array.dtype.kind in "OUST" else datatype_of(array.dtype.name)
        piece = to_raw(array)
        tensors.append([name, datatype, array.shape, len(piece)])
        pieces.append(piece)
    connection.send_bytes(json.dumps([said, tensors]).encode())
    for piece in pieces:
        if len(piece):
            connection.send_bytes(piece)


def receive_arrays(connection: Connection[Any, Any]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Waits for a message; returns what it says and its arrays.

    Raises:
        EOFError: The other side is gone.
        OSError: The same.
    """
    said, tensors = json.loads(connection.recv_bytes())
    arrays = {}
    for name, datatype, shape, size in tensors:
        if datatype == BYTES:
            raw = connection.recv_bytes() if size else b""
            arrays[name] = from_raw(raw, datatype, tuple(shape), name)
            continue
        dtype = dtype_of(datatype, name)
        array = aligned_empty((math.prod(shape),), dtype)
        if size:
            connection.recv_bytes_into(memoryview(array.view(np.uint8).data))
        arrays[name] = array.reshape(shape)
    return said, arrays
