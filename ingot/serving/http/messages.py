"""Requests and answers of inference as the HTTP protocol writes them: JSON, and bytes behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import orjson

from ingot.runtime.manifest import STRING_DTYPE
from ingot.serving.protocol.datatypes import (
    checked_shape,
    datatype_of,
    from_raw,
    from_values,
    to_raw,
    to_values,
)
from ingot.serving.protocol.parameters import (
    MOST_TENSORS,
    deadline_of,
    priority_of,
    whole_number,
)
from ingot.serving.requests import Cause, InferenceRequest, RefusedError
from ingot.serving.shared_memory import Piece, SharedMemory

Array = npt.NDArray[Any]

_LONGEST_NAME = 1024
_MOST_REQUESTS = 1024
_BINARY = "binary_data"
_SIZE = "binary_data_size"


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a client wants of the outputs.

    Attributes:
        names: The outputs; none for all.
        binary: The names of those that are to come as bytes; None for all.
        pieces: Where those go, by name, that are to be written to shared memory.
    """

    names: tuple[str, ...]
    binary: frozenset[str] | None
    pieces: Mapping[str, Piece] = dataclasses.field(default_factory=dict)

    def is_binary(self, name: str) -> bool:
        """Whether an output is to come as bytes."""
        return self.binary is None or name in self.binary


def read_inference(
    body: bytes, header_length: int | None, memory: SharedMemory
) -> tuple[InferenceRequest, Wanted]:
    """Reads the body of a request for inference.

    Args:
        body: The JSON, and behind it the bytes of tensors.
        header_length: The length of the JSON, where there are bytes behind it.
        memory: Where tensors may lie instead.

    Raises:
        RefusedError: It is not such a body.
    """
    said, raw = _parts(body, header_length)
    request, wanted, rest = _read_request(said, raw, memory)
    _require_end(rest)
    return request, wanted


def read_list(
    body: bytes, header_length: int | None, memory: SharedMemory
) -> list[tuple[InferenceRequest, Wanted] | RefusedError]:
    """Reads the body of a list of requests, ``{"requests": [...]}``; raw tensors in their order.

    Returns:
        The requests; in the place of one whose tensors are wrong, what is wrong with it.

    Raises:
        RefusedError: It is not such a body.
    """
    said, raw = _parts(body, header_length)
    given = said.get("requests")
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_REQUESTS:
        raise _invalid(f"'requests' has to be a list of 1 to {_MOST_REQUESTS} requests")
    read: list[tuple[InferenceRequest, Wanted] | RefusedError] = []
    for each in given:
        if not isinstance(each, dict):
            raise _invalid("a request has to be a JSON object")
        size = _raw_size(each)
        if size > len(raw):
            raise _invalid("the bytes of a request are not within the body")
        try:
            request, wanted, rest = _read_request(each, raw[:size], memory)
            _require_end(rest)
            read.append((request, wanted))
        except RefusedError as error:
            read.append(error)
        raw = raw[size:]
    _require_end(raw)
    return read


def _parts(body: bytes, header_length: int | None) -> tuple[dict[str, Any], memoryview]:
    if header_length is not None and not 0 <= header_length <= len(body):
        raise _invalid("the header's length is not within the body")
    view = memoryview(body)
    said = read_json(view if header_length is None else view[:header_length])
    return said, view[len(view) if header_length is None else header_length :]


def _require_end(rest: memoryview) -> None:
    if len(rest):
        raise _invalid(f"{len(rest)} bytes are left behind the last input")


def _raw_size(said: Mapping[str, Any]) -> int:
    """Bytes that the tensors of a request have behind the JSON."""
    inputs = said.get("inputs")
    total = 0
    for tensor in inputs if isinstance(inputs, list) else ():
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        if isinstance(parameters, dict) and _SIZE in parameters:
            total += whole_number(parameters[_SIZE], _SIZE)
    return total


def read_json(text: bytes | memoryview) -> dict[str, Any]:
    """Reads an object.

    Raises:
        RefusedError: It is not JSON, or not an object.
    """
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"the body is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise _invalid("the body has to be a JSON object")
    return said


def _read_request(
    said: Mapping[str, Any], raw: memoryview, memory: SharedMemory
) -> tuple[InferenceRequest, Wanted, memoryview]:
    """Reads a request from its JSON and the bytes behind; returns the bytes left, too."""
    given = said.get("inputs")
    if not isinstance(given, list) or len(given) > MOST_TENSORS:
        raise _invalid(f"'inputs' has to be a list of at most {MOST_TENSORS} tensors")
    inputs: dict[str, Array] = {}
    for tensor in given:
        name = _named(tensor, "an input")
        if name in inputs:
            raise _invalid(f"input '{name}' is there twice")
        shape = checked_shape(tensor.get("shape"), name)
        datatype = str(tensor.get("datatype"))
        parameters = _parameters(tensor, name)
        piece = Piece.of(parameters)
        if piece is not None:
            inputs[name] = from_raw(memory.read(piece), datatype, shape, name)
            continue
        size = parameters.get(_SIZE)
        if size is None:
            inputs[name] = from_values(tensor.get("data"), datatype, shape, name)
            continue
        if whole_number(size, _SIZE) > len(raw):
            raise _invalid(f"the bytes of input '{name}' are not within the body")
        inputs[name] = from_raw(raw[:size], datatype, shape, name)
        raw = raw[size:]
    parameters = _parameters(said, "the request")
    request = InferenceRequest(
        inputs,
        id=_text(said.get("id", ""), "id"),
        priority=priority_of(whole_number(parameters.get("priority", 0), "priority")),
        deadline=deadline_of(whole_number(parameters.get("timeout", 0), "timeout")),
    )
    return request, _wanted(said.get("outputs"), parameters), raw


def _wanted(outputs: Any, parameters: Mapping[str, Any]) -> Wanted:
    everything = bool(parameters.get("binary_data_output", False))
    if outputs is None:
        return Wanted((), None if everything else frozenset())
    if not isinstance(outputs, list) or len(outputs) > MOST_TENSORS:
        raise _invalid(f"'outputs' has to be a list of at most {MOST_TENSORS} outputs")
    names, binary, pieces = [], set(), {}
    for output in outputs:
        name = _named(output, "an output")
        asked = _parameters(output, name)
        if "classification" in asked:
            raise _invalid("classification is not offered: take the scores of the output itself")
        names.append(name)
        piece = Piece.of(asked)
        if piece is not None:
            pieces[name] = piece
        elif asked.get(_BINARY, everything):
            binary.add(name)
    return Wanted(tuple(names), frozenset(binary), pieces)


def write_inference(
    model: str,
    version: str,
    id: str,
    outputs: Mapping[str, Array],
    wanted: Wanted,
    memory: SharedMemory,
) -> tuple[Sequence[bytes | memoryview], int | None]:
    """Writes an answer, and outputs to shared memory where that is wanted.

    Returns:
        The pieces of the body, and the length of its JSON if there are bytes behind it.

    Raises:
        RefusedError: There is no output of a name that is wanted.
    """
    answer, raw = _answer(model, version, id, outputs, wanted, memory)
    return _joined(answer, raw)


def write_list(
    answers: Sequence[tuple[str, str, str, Mapping[str, Array], Wanted] | RefusedError],
    memory: SharedMemory,
) -> tuple[Sequence[bytes | memoryview], int | None]:
    """Writes the answers to a list of requests, ``{"responses": [...]}``, in its order.

    One that has no result is an object with its ``error``.
    """
    written: list[dict[str, Any]] = []
    raw: list[bytes | memoryview] = []
    for each in answers:
        try:
            if isinstance(each, RefusedError):
                raise each
            answer, pieces = _answer(*each, memory)
        except RefusedError as error:
            written.append({"error": str(error)})
            continue
        written.append(answer)
        raw += pieces
    return _joined({"responses": written}, raw)


def _joined(
    answer: Mapping[str, Any], raw: Sequence[bytes | memoryview]
) -> tuple[Sequence[bytes | memoryview], int | None]:
    head = orjson.dumps(answer)
    return ([head, *raw], len(head)) if raw else ([head], None)


def _answer(
    model: str,
    version: str,
    id: str,
    outputs: Mapping[str, Array],
    wanted: Wanted,
    memory: SharedMemory,
) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    described = []
    raw: list[bytes | memoryview] = []
    for name in wanted.names or outputs:
        if name not in outputs:
            raise _invalid(f"no output is called '{name}'; there are {', '.join(outputs)}")
        array = outputs[name]
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(_dtype_name(array)),
            "shape": array.shape,
        }
        if name in wanted.pieces:
            content, place = to_raw(array), wanted.pieces[name]
            memory.write(place, content)
            tensor["parameters"] = {
                "shared_memory_region": place.region,
                "shared_memory_offset": place.offset,
                "shared_memory_byte_size": len(content),
            }
        elif wanted.is_binary(name):
            content = to_raw(array)
            tensor["parameters"] = {_SIZE: len(content)}
            raw.append(content)
        else:
            tensor["data"] = to_values(array)
        described.append(tensor)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": described}
    if id:
        answer["id"] = id
    return answer, raw


def _dtype_name(array: Array) -> str:
    return STRING_DTYPE if array.dtype.kind in "OUST" else array.dtype.name


def _named(tensor: Any, what: str) -> str:
    name = tensor.get("name") if isinstance(tensor, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        raise _invalid(f"{what} has no name")
    return name


def _parameters(said: Mapping[str, Any], of: str) -> Mapping[str, Any]:
    parameters = said.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _invalid(f"the parameters of {of} have to be an object")
    return parameters


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise _invalid(f"'{name}' has to be a string")
    return value


def _invalid(message: str) -> RefusedError:
    return RefusedError(Cause.INVALID, message)
