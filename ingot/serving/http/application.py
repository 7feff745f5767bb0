"""The server's HTTP: an ASGI application.

No framework stands between: a small model answers in less time than one takes to route a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

from ingot.errors import IngotError
from ingot.serving.access_log import AccessLog
from ingot.serving.delivery import Asked, Delivery
from ingot.serving.http.bodies import Compressor, read_body
from ingot.serving.http.messages import (
    Wanted,
    read_inference,
    read_list,
    write_inference,
    write_list,
)
from ingot.serving.http.replies import Reply, error_reply
from ingot.serving.http.routes import Routes
from ingot.serving.models.repository import Repository
from ingot.serving.options import ServerOptions
from ingot.serving.requests import Cause, RefusedError
from ingot.serving.shared_memory import SharedMemory

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_logger = logging.getLogger("ingot.serving")
_MODELS = "/v2/models/"
_INFER = "/infer"
_LIST = "/infer-list"
_VERSIONS = "versions"
_HEADER_LENGTH = b"inference-header-content-length"
_BEARER = b"Bearer "
# The page itself shows nothing without a token.
_OPEN = frozenset({"/", "/page.js", "/openapi.json"})
# Seconds until somebody looks whether the client is still there: most requests are answered before.
_WATCH_AFTER = 0.05
_MIB = 1 << 20


class HttpApplication:
    """Answers HTTP requests.

    Attributes:
        delivery: What asks the models; None before the server has started.
        ready: Whether the server takes requests.
        memory: Where tensors may lie instead of in bodies.
    """

    def __init__(
        self, repository: Repository, options: ServerOptions, log: AccessLog, memory: SharedMemory
    ) -> None:
        """Answers nothing before ``delivery`` is set.

        Args:
            repository: The models.
            options: The server's options.
            log: What is told of each request.
            memory: Where tensors may lie instead of in bodies.
        """
        self.memory = memory
        self.delivery: Delivery | None = None
        self.ready = False
        self._routes = Routes(repository, self, memory)
        self._log = log
        self._token = None if options.token is None else options.token.encode()
        self._most_bytes = int(options.max_body_mib * _MIB)
        self._compressor = Compressor()

    @property
    def under_way(self) -> int:
        """Requests that have no answer yet."""
        return 0 if self.delivery is None else self.delivery.under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            raise RuntimeError(f"no answer to {scope['type']}")
        started = time.monotonic()
        path, method = scope["path"], scope["method"]
        headers = dict(scope["headers"])
        try:
            self._authenticate(path, headers)
            if method == "POST" and path.endswith(_INFER) and path.startswith(_MODELS):
                reply = await self._infer(path, headers, receive)
            elif method == "POST" and path.endswith(_LIST) and path.startswith(_MODELS):
                reply = await self._infer_list(path, headers, receive)
            else:
                body = await read_body(receive, headers, self._most_bytes)
                reply = await self._routes.answer(method, path, body)
            if b"accept-encoding" in headers:
                self._compressor.compress(reply, headers[b"accept-encoding"], path)
        except IngotError as error:
            reply = error_reply(error)
        except asyncio.CancelledError:
            raise
        except Exception:
            # What went wrong is for who runs the server, not for who calls it.
            _logger.exception("request %s %s failed", method, path)
            reply = error_reply(
                RefusedError(Cause.FAILED, "internal error; the server's log has more")
            )
        await _send(reply, send)
        self._log.request(scope, reply, started)

    def _authenticate(self, path: str, headers: Mapping[bytes, bytes]) -> None:
        if self._token is None or path.startswith("/v2/health/") or path in _OPEN:
            return
        given = headers.get(b"authorization", b"")
        if not (
            given.startswith(_BEARER) and hmac.compare_digest(given[len(_BEARER) :], self._token)
        ):
            raise RefusedError(Cause.UNAUTHENTICATED, "a valid bearer token is needed")

    async def _infer(self, path: str, headers: Mapping[bytes, bytes], receive: Receive) -> Reply:
        name, version = _model_of(path, _INFER)
        body = await read_body(receive, headers, self._most_bytes)
        request, wanted = read_inference(body, _header_length(headers), self.memory)
        with _watched(receive) as asked:
            model, outputs = await self._asker().infer(name, version, request, asked)
        return Reply.inference(
            *write_inference(model.name, model.version, request.id, outputs, wanted, self.memory)
        )

    async def _infer_list(
        self, path: str, headers: Mapping[bytes, bytes], receive: Receive
    ) -> Reply:
        """Answers requests that came in one body: each has its own outcome."""
        name, version = _model_of(path, _LIST)
        body = await read_body(receive, headers, self._most_bytes)
        requests = read_list(body, _header_length(headers), self.memory)
        asker = self._asker()
        with _watched(receive) as asked:
            ready = [each for each in requests if not isinstance(each, RefusedError)]
            outcomes = iter(
                await asyncio.gather(
                    *(asker.infer(name, version, request, asked) for request, _ in ready),
                    return_exceptions=True,
                )
            )
        answers: list[tuple[str, str, str, Mapping[str, Any], Wanted] | RefusedError] = []
        for each in requests:
            if isinstance(each, RefusedError):
                answers.append(each)
                continue
            outcome = next(outcomes)
            if isinstance(outcome, RefusedError):
                answers.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                model, outputs = outcome
                answers.append((model.name, model.version, each[0].id, outputs, each[1]))
        return Reply.inference(*write_list(answers, self.memory))

    def _asker(self) -> Delivery:
        if self.delivery is None:
            raise RefusedError(Cause.UNAVAILABLE, "the server is starting")
        return self.delivery


@contextlib.contextmanager
def _watched(receive: Receive) -> Iterator[Asked]:
    """Gives up what is asked within, should the client leave."""
    asked, loop = Asked(), asyncio.get_running_loop()
    watcher = loop.call_later(_WATCH_AFTER, _watch, loop, receive, asked)
    try:
        yield asked
    finally:
        watcher.cancel()
        asked.end()


def _watch(loop: asyncio.AbstractEventLoop, receive: Receive, asked: Asked) -> None:
    """Gives up a request whose client leaves."""

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        asked.give_up()

    asked.watched_by(loop.create_task(leave()))


def _model_of(path: str, end: str) -> tuple[str, str]:
    """The model and version that a path of inference names."""
    parts = path[len(_MODELS) : -len(end)].split("/")
    if len(parts) == 1:
        return parts[0], ""
    if len(parts) == 3 and parts[1] == _VERSIONS:
        return parts[0], parts[2]
    raise RefusedError(Cause.NOT_FOUND, f"there is nothing at {path[:200]}")


def _header_length(headers: Mapping[bytes, bytes]) -> int | None:
    given = headers.get(_HEADER_LENGTH)
    if given is None:
        return None
    if not given.isdigit() or len(given) > 18:
        raise RefusedError(
            Cause.INVALID, "Inference-Header-Content-Length has to be a whole number"
        )
    return int(given)


async def _send(reply: Reply, send: Send) -> None:
    await send(
        {"type": "http.response.start", "status": reply.status, "headers": reply.all_headers()}
    )
    await send({"type": "http.response.body", "body": reply.body})
