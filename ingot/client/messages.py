"""What a client sends and reads: the Open Inference Protocol over HTTP, tensors as bytes."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ingot.errors import IngotError, UsageError
from ingot.runtime.manifest import STRING_DTYPE, TensorSpec
from ingot.serving.protocol.datatypes import datatype_of, dtype_of, from_raw, from_values, to_raw
from ingot.serving.requests import RefusedError

Array = npt.NDArray[Any]

HEADER_LENGTH = "Inference-Header-Content-Length"
_GZIP = 31  # zlib's window bits
_MICROSECONDS = 1e6


class ServerError(IngotError):
    """A server did not answer as it should, or says why it does not.

    Attributes:
        status: HTTP's status; 0 where there was no answer.
        retry_after: Seconds after which the server may have room; None where it does not say.
    """

    def __init__(self, message: str, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a server says of a model.

    Attributes:
        name: Its name.
        versions: The versions that are loaded, the latest first.
        inputs: What it takes; an open size has a name of its own.
        outputs: What it gives.
    """

    name: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of a model.

    Attributes:
        inputs: Arrays by the names of the inputs.
        outputs: The outputs that are wanted; none for all.
        id: A name that the answer bears.
        priority: From 1, the most urgent; 0 for the server's default.
        timeout: Seconds after which the answer is of no use; None for never.
    """

    inputs: Mapping[str, Any]
    outputs: Sequence[str] = ()
    id: str = ""
    priority: int = 0
    timeout: float | None = None


@dataclasses.dataclass(frozen=True)
class Packed:
    """A body and its headers."""

    body: bytes
    headers: dict[str, str]


NOTHING = Packed(b"", {})
"""No body."""


def model_path(model: str, version: str, action: str = "") -> str:
    """Returns the path of a model's action.

    Raises:
        UsageError: The name is none that a server could have.
    """
    for part in (model, version):
        if "/" in part or part.startswith("."):
            raise UsageError(f"'{part}' is no name of a model or a version")
    where = f"/v2/models/{model}" + (f"/versions/{version}" if version else "")
    return where + (f"/{action}" if action else "")


def pack(question: Question, encoding: str | None) -> Packed:
    """Writes the body of a request.

    Args:
        question: What is asked.
        encoding: How the body is packed, ``gzip``, ``deflate`` or ``zstd``; None for not at all.

    Raises:
        UsageError: An input is no array that the protocol carries.
    """
    said, raw = _said(question)
    return _packed(said, raw, encoding)


def pack_list(questions: Sequence[Question], encoding: str | None) -> Packed:
    """Writes the body of a list of requests."""
    requests, raw = [], []
    for question in questions:
        said, pieces = _said(question)
        requests.append(said)
        raw += pieces
    return _packed({"requests": requests}, raw, encoding)


def _packed(
    said: Mapping[str, Any], raw: Sequence[bytes | memoryview], encoding: str | None
) -> Packed:
    head = orjson.dumps(said)
    body = b"".join([head, *raw])
    headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
    if encoding is not None:
        body = _compressed(body, encoding)
        headers |= {"Content-Encoding": encoding, "Accept-Encoding": encoding}
    return Packed(body, headers)


def _compressed(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP)
        return packer.compress(body) + packer.flush()
    if encoding == "deflate":
        return zlib.compress(body, 1)
    if encoding == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=1).compress(body)
    raise UsageError(f"encoding {encoding!r} is none of gzip, deflate and zstd")


def unpack(body: bytes, encoding: str) -> bytes:
    """Unpacks an answer's body.

    Raises:
        ServerError: It is damaged, or of an encoding that was not asked for.
    """
    try:
        if encoding in ("", "identity"):
            return body
        if encoding == "gzip":
            return zlib.decompress(body, _GZIP)
        if encoding == "deflate":
            return zlib.decompress(body)
        if encoding == "zstd":
            import zstandard

            with zstandard.ZstdDecompressor().stream_reader(body) as reader:
                unpacked: bytes = reader.read()
            return unpacked
    except zlib.error as error:
        raise ServerError(f"the answer is damaged: {error}") from None
    raise ServerError(f"the answer has the encoding {encoding!r}, which was not asked for")


def _said(question: Question) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    tensors, raw = [], []
    for name, value in question.inputs.items():
        array = np.asarray(value)
        dtype = STRING_DTYPE if array.dtype.kind in "OUST" else array.dtype.name
        try:
            dtype_of(datatype_of(dtype), name)
        except RefusedError:
            raise UsageError(f"the protocol has no tensors of {dtype}, as '{name}' is") from None
        piece = to_raw(array)
        tensors.append(
            {
                "name": name,
                "shape": array.shape,
                "datatype": datatype_of(dtype),
                "parameters": {"binary_data_size": len(piece)},
            }
        )
        raw.append(piece)
    parameters: dict[str, Any] = {"binary_data_output": True}
    if question.priority:
        parameters["priority"] = question.priority
    if question.timeout is not None:
        parameters["timeout"] = max(1, round(question.timeout * _MICROSECONDS))
    said: dict[str, Any] = {"inputs": tensors, "parameters": parameters}
    if question.outputs:
        said["outputs"] = [{"name": name} for name in question.outputs]
    if question.id:
        said["id"] = question.id
    return said, raw


def read_answer(body: bytes, header_length: str | None) -> dict[str, Array]:
    """Reads the outputs of an answer.

    Raises:
        ServerError: It is not an answer.
    """
    said, raw = _parts(body, header_length)
    try:
        outputs, _ = _outputs(said, raw)
    except (KeyError, TypeError, RefusedError) as error:
        raise ServerError(f"the answer cannot be read: {error}") from None
    return outputs


def read_list(body: bytes, header_length: str | None) -> list[dict[str, Array] | ServerError]:
    """Reads the answers to a list of requests; in the place of one that has no result, its error.

    Raises:
        ServerError: It is not an answer.
    """
    said, raw = _parts(body, header_length)
    answers: list[dict[str, Array] | ServerError] = []
    try:
        for each in said["responses"]:
            if "error" in each:
                answers.append(ServerError(str(each["error"]), 200))
                continue
            outputs, raw = _outputs(each, raw)
            answers.append(outputs)
    except (KeyError, TypeError, RefusedError) as error:
        raise ServerError(f"the answer cannot be read: {error}") from None
    return answers


def _parts(body: bytes, header_length: str | None) -> tuple[dict[str, Any], memoryview]:
    view = memoryview(body)
    length = len(view) if header_length is None else int(header_length)
    try:
        said = orjson.loads(view[:length])
    except orjson.JSONDecodeError as error:
        raise ServerError(f"the answer is not JSON: {error}") from None
    return said, view[length:]


def _outputs(said: Mapping[str, Any], raw: memoryview) -> tuple[dict[str, Array], memoryview]:
    outputs = {}
    for tensor in said["outputs"]:
        name, shape, datatype = tensor["name"], tuple(tensor["shape"]), tensor["datatype"]
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[name] = from_values(tensor["data"], datatype, shape, name)
        else:
            outputs[name] = from_raw(raw[:size], datatype, shape, name)
            raw = raw[size:]
    return outputs, raw


def read_model(body: bytes) -> ModelInfo:
    """Reads what a server says of a model.

    Raises:
        ServerError: It is not that.
    """
    said, _ = _parts(body, None)
    try:
        return ModelInfo(
            said["name"],
            tuple(said["versions"]),
            _specs(said["inputs"], "input"),
            _specs(said["outputs"], "output"),
        )
    except (KeyError, TypeError, RefusedError) as error:
        raise ServerError(f"the answer cannot be read: {error}") from None


def _specs(tensors: Sequence[Mapping[str, Any]], kind: str) -> tuple[TensorSpec, ...]:
    specs = []
    for number, tensor in enumerate(tensors):
        dtype = dtype_of(tensor["datatype"], tensor["name"]).name
        # The protocol does not tell which open sizes are the same; the first are a batch's.
        shape = tuple(
            size if size >= 0 else "N" if axis == 0 else f"{kind}{number}_{axis}"
            for axis, size in enumerate(tensor["shape"])
        )
        specs.append(TensorSpec(tensor["name"], dtype, shape))
    return tuple(specs)


def error_of(status: int, body: bytes, retry_after_ms: str | None) -> ServerError:
    """Returns what a server says is wrong."""
    try:
        said = str(orjson.loads(body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = f"the server answered with status {status}"
    try:
        after = None if retry_after_ms is None else float(retry_after_ms) / 1e3
    except ValueError:
        after = None
    return ServerError(said, status, after)
