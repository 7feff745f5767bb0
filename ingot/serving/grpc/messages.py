"""Requests and answers of inference as gRPC carries them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.manifest import STRING_DTYPE
from ingot.serving.grpc.schema import message
from ingot.serving.protocol.datatypes import (
    BYTES,
    checked_shape,
    datatype_of,
    from_raw,
    from_values,
    to_raw,
)
from ingot.serving.protocol.parameters import MOST_TENSORS, deadline_of, priority_of, whole_number
from ingot.serving.requests import Cause, InferenceRequest, RefusedError
from ingot.serving.shared_memory import Piece, SharedMemory

Array = npt.NDArray[Any]

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def read_request(said: Any, memory: SharedMemory) -> InferenceRequest:
    """Reads a ``ModelInferRequest``.

    Args:
        said: The message.
        memory: Where tensors may lie instead.

    Raises:
        RefusedError: It is not a request that can be read.
    """
    raw = said.raw_input_contents
    if len(said.inputs) > MOST_TENSORS:
        raise _invalid(f"a request has at most {MOST_TENSORS} inputs")
    places = [Piece.of(_values(tensor.parameters)) for tensor in said.inputs]
    if raw and len(raw) != places.count(None):
        raise _invalid(f"{places.count(None)} inputs and {len(raw)} raw contents came")
    pieces = iter(raw)
    inputs: dict[str, Array] = {}
    for tensor, place in zip(said.inputs, places, strict=True):
        name = tensor.name
        if not name or name in inputs:
            raise _invalid(f"input '{name}' is there twice" if name else "an input has no name")
        shape = checked_shape(list(tensor.shape), name)
        if place is not None:
            inputs[name] = from_raw(memory.read(place), tensor.datatype, shape, name)
        elif raw:
            inputs[name] = from_raw(next(pieces), tensor.datatype, shape, name)
        else:
            inputs[name] = _contents(tensor, shape)
    parameters = _values(said.parameters)
    return InferenceRequest(
        inputs,
        id=said.id,
        priority=priority_of(whole_number(parameters.get("priority", 0), "priority")),
        deadline=deadline_of(whole_number(parameters.get("timeout", 0), "timeout")),
    )


def _contents(tensor: Any, shape: tuple[int, ...]) -> Array:
    if tensor.datatype == BYTES:
        pieces = list(tensor.contents.bytes_contents)
        packed = b"".join(len(piece).to_bytes(4, "little") + piece for piece in pieces)
        return from_raw(packed, BYTES, shape, tensor.name)
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise _invalid(f"tensor '{tensor.name}' of {tensor.datatype} needs raw contents")
    return from_values(list(getattr(tensor.contents, field)), tensor.datatype, shape, tensor.name)


def _values(parameters: Any) -> dict[str, Any]:
    values = {}
    for key in parameters:
        choice = parameters[key].WhichOneof("parameter_choice")
        values[key] = None if choice is None else getattr(parameters[key], choice)
    return values


def write_response(
    model: str, version: str, said: Any, outputs: Mapping[str, Array], memory: SharedMemory
) -> Any:
    """Returns the ``ModelInferResponse`` to a request, its tensors raw or in shared memory.

    Raises:
        RefusedError: There is no output of a name that is wanted.
    """
    response = message("ModelInferResponse")(model_name=model, model_version=version, id=said.id)
    places = {each.name: Piece.of(_values(each.parameters)) for each in said.outputs}
    for name in places or outputs:
        if name not in outputs:
            raise _invalid(f"no output is called '{name}'; there are {', '.join(outputs)}")
        array = outputs[name]
        dtype = STRING_DTYPE if array.dtype.kind in "OUST" else array.dtype.name
        tensor = response.outputs.add(name=name, datatype=datatype_of(dtype), shape=array.shape)
        content, place = to_raw(np.asarray(array)), places.get(name)
        if place is None:
            response.raw_output_contents.append(bytes(content))
            continue
        memory.write(place, content)
        tensor.parameters["shared_memory_region"].string_param = place.region
        tensor.parameters["shared_memory_offset"].int64_param = place.offset
        tensor.parameters["shared_memory_byte_size"].int64_param = len(content)
    return response


def _invalid(said: str) -> RefusedError:
    return RefusedError(Cause.INVALID, said)
