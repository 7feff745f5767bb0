"""The server's gRPC."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from ingot.errors import IngotError, UsageError, first_line
from ingot.serving.access_log import AccessLog
from ingot.serving.delivery import Delivery
from ingot.serving.grpc.messages import read_request, write_response
from ingot.serving.grpc.schema import SERVICE, message, methods
from ingot.serving.models.repository import Repository
from ingot.serving.options import ServerOptions
from ingot.serving.protocol.description import (
    model_metadata,
    model_statistics,
    server_metadata,
)
from ingot.serving.requests import Cause, RefusedError
from ingot.serving.shared_memory import Region, SharedMemory

_logger = logging.getLogger("ingot.serving")
_MIB = 1 << 20
# Answers of a stream that may be under way: beyond it, no more requests of the stream are read.
_STREAM_WINDOW = 64

CODES = {
    Cause.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Cause.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Cause.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Cause.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Cause.CANCELLED: grpc.StatusCode.CANCELLED,
    Cause.FAILED: grpc.StatusCode.INTERNAL,
    Cause.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Cause.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Cause.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Servicer:
    """Answers gRPC requests.

    Attributes:
        ready: Whether the server takes requests.
    """

    def __init__(
        self,
        repository: Repository,
        delivery: Delivery,
        options: ServerOptions,
        log: AccessLog,
        memory: SharedMemory,
    ) -> None:
        """Belongs to the loop that runs.

        Args:
            repository: The models.
            delivery: What asks them.
            options: The server's options.
            log: What is told of each request.
            memory: Where tensors may lie instead of in messages.
        """
        self._memory = memory
        self.ready = True
        self._repository = repository
        self._delivery = delivery
        self._log = log
        self._token = None if options.token is None else f"Bearer {options.token}"
        self._answers: dict[str, Callable[[Any], Any]] = {
            "ServerLive": lambda _: {"live": True},
            "ServerReady": lambda _: {"ready": self.ready},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: server_metadata(),
            "ModelMetadata": self._model_metadata,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "SystemSharedMemoryStatus": self._regions,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
        }

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server finds the methods by."""
        handlers = {}
        for name, (request, response, streams) in methods().items():
            make = (
                grpc.stream_stream_rpc_method_handler
                if streams
                else grpc.unary_unary_rpc_method_handler
            )
            answer = (
                self._stream if streams else self._infer if name == "ModelInfer" else self._of(name)
            )
            handlers[name] = make(answer, _parser(request), response.SerializeToString)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _of(self, name: str) -> Callable[[Any, Any], Awaitable[Any]]:
        answer, response = self._answers[name], methods()[name][1]

        async def answered(request: Any, context: Any) -> Any:
            async def made() -> Any:
                if name not in ("ServerLive", "ServerReady"):
                    self._authenticate(context)
                said = answer(_readable(request))
                return response(**(await said if asyncio.iscoroutine(said) else said))

            return await self._guarded(name, context, made())

        return answered

    async def _infer(self, request: Any, context: Any) -> Any:
        async def made() -> Any:
            self._authenticate(context)
            return await self._inferred(request, context.time_remaining())

        return await self._guarded("ModelInfer", context, made())

    async def _inferred(self, said: Any, remaining: float | None) -> Any:
        request = read_request(_readable(said), self._memory)
        if remaining is not None:
            until = time.monotonic() + remaining
            request.deadline = until if request.deadline is None else min(until, request.deadline)
        model, outputs = await self._delivery.infer(said.model_name, said.model_version, request)
        return write_response(model.name, model.version, said, outputs, self._memory)

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answers a stream in the order of its requests, which run side by side."""
        try:
            self._authenticate(context)
        except RefusedError as error:
            await context.abort(CODES[error.cause], str(error))
        response = message("ModelStreamInferResponse")
        answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(_STREAM_WINDOW)

        async def read() -> None:
            async for each in requests:
                await answers.put(asyncio.create_task(self._streamed(each)))
            await answers.put(None)

        reading = asyncio.create_task(read())
        task: asyncio.Task[Any] | None = None
        try:
            while (task := await answers.get()) is not None:
                outcome = await task
                if isinstance(outcome, RefusedError):
                    yield response(error_message=str(outcome))
                else:
                    yield response(infer_response=outcome)
        finally:
            reading.cancel()
            left = [task] if task is not None else []
            while not answers.empty():
                if (each := answers.get_nowait()) is not None:
                    left.append(each)
            for each in left:
                each.cancel()

    async def _streamed(self, said: Any) -> Any:
        started = time.monotonic()
        try:
            outcome: Any = await self._inferred(said, None)
        except RefusedError as error:
            outcome = error
        code = CODES[outcome.cause] if isinstance(outcome, RefusedError) else grpc.StatusCode.OK
        self._log.line(
            started=started, protocol="grpc", method="ModelStreamInfer", status=code.name
        )
        return outcome

    async def _guarded(self, name: str, context: Any, answer: Awaitable[Any]) -> Any:
        """Awaits an answer; an error becomes a status of one line."""
        started = time.monotonic()
        error: IngotError
        try:
            made = await answer
        except IngotError as raised:
            error = raised
        except asyncio.CancelledError:
            raise
        except Exception:
            _logger.exception("method %s failed", name)
            error = RefusedError(Cause.FAILED, "internal error; the server's log has more")
        else:
            self._log.line(
                started=started, client=context.peer(), protocol="grpc", method=name, status="OK"
            )
            return made
        cause = error.cause if isinstance(error, RefusedError) else Cause.FAILED
        code = CODES[cause]
        self._log.line(
            started=started, client=context.peer(), protocol="grpc", method=name, status=code.name
        )
        metadata: tuple[tuple[str, str], ...] = ()
        if isinstance(error, RefusedError) and error.retry_after is not None:
            metadata = (("retry-after-ms", f"{error.retry_after * 1e3:.1f}"),)
        await context.abort(code, str(error), metadata)
        raise AssertionError("abort raises")

    def _authenticate(self, context: Any) -> None:
        if self._token is None:
            return
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not (
            isinstance(given, str) and hmac.compare_digest(given.encode(), self._token.encode())
        ):
            raise RefusedError(Cause.UNAUTHENTICATED, "a valid bearer token is needed")

    def _model_ready(self, request: Any) -> dict[str, Any]:
        try:
            self._repository.find(request.name, request.version).require_available()
        except RefusedError:
            return {"ready": False}
        return {"ready": True}

    def _model_metadata(self, request: Any) -> dict[str, Any]:
        model = self._repository.find(request.name, request.version)
        return model_metadata(model, self._repository.versions(model.name))

    def _statistics(self, request: Any) -> dict[str, Any]:
        if request.name:
            models = [self._repository.find(request.name, request.version)]
        else:
            models = self._repository.loaded()
        return {"model_stats": [model_statistics(model) for model in models]}

    def _index(self, request: Any) -> dict[str, Any]:
        return {
            "models": [
                {"name": e.name, "version": e.version, "state": e.state, "reason": e.reason}
                for e in self._repository.index()
                if e.state == "READY" or not request.ready
            ]
        }

    async def _load(self, request: Any) -> dict[str, Any]:
        if request.parameters:
            raise RefusedError(
                Cause.INVALID,
                "a model is loaded as it lies in the repository: no parameters can be given",
            )
        await asyncio.to_thread(self._repository.load, request.model_name)
        return {}

    async def _unload(self, request: Any) -> dict[str, Any]:
        await asyncio.to_thread(self._repository.unload, request.model_name)
        return {}

    def _regions(self, request: Any) -> dict[str, Any]:
        return {
            "regions": {
                each.name: {
                    "name": each.name,
                    "key": each.key,
                    "offset": each.offset,
                    "byte_size": each.size,
                }
                for each in self._memory.regions(request.name)
            }
        }

    def _register(self, request: Any) -> dict[str, Any]:
        self._memory.register(Region(request.name, request.key, request.offset, request.byte_size))
        return {}

    def _unregister(self, request: Any) -> dict[str, Any]:
        self._memory.unregister(request.name)
        return {}


def _parser(kind: Any) -> Callable[[bytes], Any]:
    """Returns what reads messages of a type; of bytes that are none, it returns the refusal.

    An error raised there would reach the caller with the name of its class, as one of the server's.
    """

    def parsed(data: bytes) -> Any:
        try:
            return kind.FromString(data)
        except DecodeError as error:
            return RefusedError(Cause.INVALID, f"the message cannot be read: {first_line(error)}")

    return parsed


def _readable(request: Any) -> Any:
    if isinstance(request, RefusedError):
        raise request
    return request


async def start_grpc(servicer: Servicer, options: ServerOptions) -> tuple[grpc.aio.Server, int]:
    """Starts a gRPC server on the loop that runs; returns it and its port.

    Raises:
        UsageError: The port cannot be had.
    """
    most = int(options.max_body_mib * _MIB)
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=options.max_requests,
    )
    server.add_generic_rpc_handlers((servicer.handler(),))
    address = f"{options.host}:{options.grpc_port}"
    try:
        if options.certificate is None or options.key is None:
            port = server.add_insecure_port(address)
        else:
            pair = (options.key.read_bytes(), options.certificate.read_bytes())
            port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except (RuntimeError, OSError):
        raise UsageError(f"cannot listen at {address} for gRPC") from None
    await server.start()
    return server, port
