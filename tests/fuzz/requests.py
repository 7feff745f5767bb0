"""Mutants of requests to a server, over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ingot.compiler.build import compile_model
from ingot.serving.access_log import AccessLog
from ingot.serving.delivery import Delivery
from ingot.serving.grpc.messages import read_request, write_response
from ingot.serving.grpc.schema import message
from ingot.serving.http.application import HttpApplication
from ingot.serving.models.repository import Repository
from ingot.serving.options import ServerOptions
from ingot.serving.requests import RefusedError
from ingot.serving.shared_memory import SharedMemory
from tests.conftest import small_network
from tests.fuzz.forkserver import RAN, REFUSED
from tests.fuzz.mutation import VALUES, change_tree, changed_bytes

_GIB = 1 << 30
_INTERNAL = 500
_VALUES = [*VALUES, "FP32", "BYTES", "FP16", "INT64", "BOOL", [1, 3, 16, 16], 1 << 53, 768]
_PATHS = (
    *("/v2/models/m/infer", "/v2/models/m/versions/1/infer", "/v2/models/m/inferlist"),
    *("/v2/models//infer", "/v2/models/m/versions/\0/infer", "/v2/models/\x1b[31m/infer"),
    *("/v2/repository/index", "/v2/repository/models/m/load", "/v2/models/m", "/v2/models/m/stats"),
    *("/v2/systemsharedmemory/region/r/register", "/v2/systemsharedmemory/status", "/", "/metrics"),
)


class HttpRequests:
    """A request whose JSON, tensors, headers or path are changed: the answer is never a 500."""

    memory = 2 * _GIB
    seconds = 30.0

    def __init__(self, folder: Path) -> None:
        self._artifact = compile_model(small_network(), folder / "small.ingot").path
        self._loop: asyncio.AbstractEventLoop | None = None
        image = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
        tensor = {"name": "image", "shape": [1, 3, 16, 16], "datatype": "FP32"}
        self._plain = {"id": "7", "inputs": [{**tensor, "data": image.ravel().tolist()}]}
        self._binary = {
            "parameters": {"binary_data_output": True, "priority": 1, "timeout": 10_000_000},
            "inputs": [{**tensor, "parameters": {"binary_data_size": image.nbytes}}],
            "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
        }
        self._raw = image.tobytes()

    def judge(self, seed: int, folder: Path) -> str:
        if self._loop is None:
            self._start()
        assert self._loop is not None
        dice = random.Random(seed)
        path, headers, body = self._request(dice)
        status, answer = self._loop.run_until_complete(self._ask(path, headers, body))
        if status == _INTERNAL or not 200 <= status < 600:
            return f"status {status}: {answer[:200]!r}"
        if status < 300:
            return RAN
        said = json.loads(answer)["error"]
        return (
            REFUSED if len(said.splitlines()) == 1 else f"an error of several lines: {said[:99]!r}"
        )

    def _start(self) -> None:
        """In the child, since threads do not go along with it."""
        options = ServerOptions(max_body_mib=1.0, shared_memory=True)
        repository = Repository(options.of_model, {"m": self._artifact})
        repository.load_all()
        memory = SharedMemory(allowed=True)
        self._application = HttpApplication(repository, options, AccessLog(None), memory)
        self._loop = asyncio.new_event_loop()

        async def deliver() -> None:
            self._application.delivery = Delivery(repository, 64)

        self._loop.run_until_complete(deliver())
        self._application.ready = True

    def _request(self, dice: random.Random) -> tuple[str, list[tuple[bytes, bytes]], bytes]:
        binary = dice.random() < 0.5
        tree = json.loads(json.dumps(self._binary if binary else self._plain))
        for _ in range(dice.choice([0, 1, 1, 2])):
            change_tree(tree, dice, _VALUES)
        text = json.dumps(tree).encode()
        if dice.random() < 0.1:
            text = changed_bytes(text, dice)
        headers = []
        path = _PATHS[0] if dice.random() < 0.8 else dice.choice(_PATHS)
        if path.endswith("inferlist"):
            text = b'{"requests": [' + text + b"," + text + b"]}"
        body = text
        if binary:
            length = dice.choice([len(text)] * 8 + [0, -1, 1 << 62, len(text) - 1, len(text) + 1])
            headers.append((b"inference-header-content-length", str(length).encode()))
            body += self._raw if dice.random() < 0.8 else changed_bytes(self._raw, dice)
        if dice.random() < 0.15:
            coding, packed = dice.choice(
                [(b"gzip", _gzip(body)), (b"deflate", zlib.compress(body)), (b"x", body),
                 (b"zstd", body), (b"gzip", _gzip(bytes(8 << 20)))]
            )  # fmt: skip
            headers.append((b"content-encoding", coding))
            body = packed if dice.random() < 0.5 else changed_bytes(packed, dice)
        if dice.random() < 0.1:
            given = [b"gzip", b"*;q=0", b"zstd", b"\xff", b"gzip;q=" + b"9" * 99]
            headers.append((b"accept-encoding", dice.choice(given)))
        return path, headers, body

    async def _ask(
        self, path: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []
        pieces = [body[:1000], body[1000:]]

        async def receive() -> dict[str, Any]:
            if not pieces:
                await asyncio.sleep(3600)
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        async def send(event: dict[str, Any]) -> None:
            sent.append(event)

        scope = {
            "type": "http", "method": "POST", "path": path, "headers": headers,
            "query_string": b"", "client": ("test", 1), "http_version": "1.1",
        }  # fmt: skip
        await self._application(scope, receive, send)
        answer = b"".join(event["body"] for event in sent if "body" in event)
        return sent[0]["status"], answer


class GrpcRequests:
    """A message that is changed, as bytes or in a field: it is read, or refused as what it is."""

    memory = 2 * _GIB
    seconds = 30.0

    def __init__(self, folder: Path) -> None:
        self._type = message("ModelInferRequest")
        said = self._type(model_name="m", id="7")
        said.inputs.add(name="image", datatype="FP32", shape=[1, 3, 2, 2])
        said.raw_input_contents.append(struct.pack("<12f", *range(12)))
        said.parameters["priority"].int64_param = 1
        self._raw = said.SerializeToString()
        plain = self._type(model_name="m")
        tensor = plain.inputs.add(name="image", datatype="INT32", shape=[3])
        tensor.contents.int_contents.extend([1, 2, 3])
        plain.outputs.add(name="logits")
        self._plain = plain.SerializeToString()

    def judge(self, seed: int, folder: Path) -> str:
        dice = random.Random(seed)
        data = dice.choice([self._raw, self._plain])
        for _ in range(dice.choice([0, 1, 3])):
            data = changed_bytes(data, dice)
        try:
            said = self._type.FromString(data)
        except Exception:  # protobuf's own: gRPC answers for it before anything of ours is called
            return REFUSED
        for tensor in said.inputs:
            match dice.randrange(6):
                case 0:
                    tensor.datatype = dice.choice(["FP64", "BYTES", "BF16", "", "x\ny", "UINT64"])
                case 1:
                    tensor.shape[:] = dice.choice([[-1], [1 << 62, 4], [], [0], [3] * 100])
                case 2:
                    tensor.name = dice.choice(["", "\n", "x" * 9999])
                case 3:
                    tensor.parameters["shared_memory_region"].string_param = "r"
                case 4:
                    tensor.contents.int_contents.append(dice.choice([1 << 30, -(1 << 31)]))
        memory = SharedMemory(allowed=True)
        try:
            request = read_request(said, memory)
            write_response("m", "1", said, {"logits": np.ones((2, 2), np.float32)}, memory)
        except RefusedError as error:
            return REFUSED if len(str(error).splitlines()) == 1 else "an error of several lines"
        assert all(isinstance(array, np.ndarray) for array in request.inputs.values())
        return RAN


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()
