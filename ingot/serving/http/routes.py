"""Everything that HTTP answers but inference."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from ingot.runtime.statistics.exposition import PROMETHEUS_CONTENT_TYPE, prometheus_page
from ingot.serving.http.messages import read_json
from ingot.serving.http.openapi import description
from ingot.serving.http.replies import Reply
from ingot.serving.metrics import server_metrics
from ingot.serving.models.repository import Repository
from ingot.serving.models.served_model import ServedModel
from ingot.serving.protocol.description import (
    model_metadata,
    model_statistics,
    server_metadata,
)
from ingot.serving.protocol.parameters import whole_number
from ingot.serving.requests import Cause, RefusedError
from ingot.serving.shared_memory import Region, SharedMemory

Answer = Callable[[dict[str, str], bytes], Awaitable[Reply] | Reply]

_PAGE = Path(__file__).with_name("page")
# The page has its style in itself, and everything else from here.
_POLICY = b"default-src 'self'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
_MODEL = r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?"
_REGION = r"/v2/systemsharedmemory(?:/region/(?P<name>[^/]+))?"
_REPOSITORY = r"/v2/repository/models/(?P<name>[^/]+)"


class Served(Protocol):
    """What routes ask of the server itself."""

    ready: bool

    @property
    def under_way(self) -> int:
        """Requests that have no answer yet."""


@dataclasses.dataclass(frozen=True)
class Route:
    """What answers requests of a method at paths of a pattern."""

    method: str
    pattern: re.Pattern[str]
    answer: Answer


class Routes:
    """Finds what answers a request, and answers it."""

    def __init__(self, repository: Repository, server: Served, memory: SharedMemory) -> None:
        """Answers from what there is at the time.

        Args:
            repository: The models.
            server: Says whether it is ready, and what is under way.
            memory: The regions that clients register.
        """
        self._memory = memory
        self._repository = repository
        self._server = server
        self._routes = [
            Route(method, re.compile(pattern), answer)
            for method, pattern, answer in (
                ("GET", r"/", self._file("index.html", b"text/html; charset=utf-8")),
                ("GET", r"/page.js", self._file("page.js", b"text/javascript; charset=utf-8")),
                ("GET", r"/openapi.json", self._openapi),
                ("GET", r"/metrics", self._metrics),
                ("GET", r"/v2/health/live", self._live),
                ("GET", r"/v2/health/ready", self._ready),
                ("GET", r"/v2/?", self._server_metadata),
                ("GET", r"/v2/models/stats", self._all_statistics),
                ("GET", _MODEL + r"/ready", self._model_ready),
                ("GET", _MODEL + r"/stats", self._statistics),
                ("GET", _MODEL, self._model_metadata),
                ("POST", r"/v2/repository/index", self._index),
                ("POST", _REPOSITORY + r"/load", self._load),
                ("POST", _REPOSITORY + r"/unload", self._unload),
                ("GET", _REGION + r"/status", self._regions),
                ("POST", _REGION + r"/register", self._register),
                ("POST", _REGION + r"/unregister", self._unregister),
            )
        ]

    async def answer(self, method: str, path: str, body: bytes) -> Reply:
        """Answers a request.

        Raises:
            IngotError: It has no answer.
        """
        allowed = []
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match is None:
                continue
            if route.method == method or (method == "HEAD" and route.method == "GET"):
                reply = route.answer(match.groupdict(default=""), body)
                return reply if isinstance(reply, Reply) else await reply
            allowed.append(route.method)
        if allowed:
            reply = Reply.json({"error": f"{path[:200]} is for {', '.join(allowed)}"}, 405)
            reply.headers.append((b"allow", ", ".join(allowed).encode()))
            return reply
        raise RefusedError(Cause.NOT_FOUND, f"there is nothing at {path[:200]}")

    @staticmethod
    def _file(name: str, content_type: bytes) -> Answer:
        content = _PAGE.joinpath(name).read_bytes()

        def answer(_: dict[str, str], __: bytes) -> Reply:
            return Reply(content, content_type, headers=[(b"content-security-policy", _POLICY)])

        return answer

    def _openapi(self, _: dict[str, str], __: bytes) -> Reply:
        return Reply.json(description())

    def _metrics(self, _: dict[str, str], __: bytes) -> Reply:
        shown = server_metrics(self._repository.loaded(), self._server.under_way)
        return Reply(prometheus_page(shown).encode(), PROMETHEUS_CONTENT_TYPE.encode())

    # The protocol has statuses for health; KServe's own client reads these bodies.
    def _live(self, _: dict[str, str], __: bytes) -> Reply:
        return Reply.json({"live": True})

    def _ready(self, _: dict[str, str], __: bytes) -> Reply:
        ready = self._server.ready
        return Reply.json({"ready": ready}, 200 if ready else 503)

    def _server_metadata(self, _: dict[str, str], __: bytes) -> Reply:
        return Reply.json(server_metadata())

    def _model_ready(self, path: dict[str, str], _: bytes) -> Reply:
        model = self._find(path)
        model.require_available()
        return Reply.json({"name": model.name, "ready": True})

    def _model_metadata(self, path: dict[str, str], _: bytes) -> Reply:
        model = self._find(path)
        return Reply.json(model_metadata(model, self._repository.versions(model.name)))

    def _statistics(self, path: dict[str, str], _: bytes) -> Reply:
        return Reply.json({"model_stats": [model_statistics(self._find(path))]})

    def _all_statistics(self, _: dict[str, str], __: bytes) -> Reply:
        return Reply.json({"model_stats": [*map(model_statistics, self._repository.loaded())]})

    def _index(self, _: dict[str, str], body: bytes) -> Reply:
        only_ready = bool(read_json(body).get("ready", False)) if body else False
        return Reply.json(
            [
                {
                    "name": entry.name,
                    "version": entry.version,
                    "state": entry.state,
                    "reason": entry.reason,
                }
                for entry in self._repository.index()
                if entry.state == "READY" or not only_ready
            ]
        )

    async def _load(self, path: dict[str, str], body: bytes) -> Reply:
        parameters: Any = read_json(body).get("parameters", {}) if body else {}
        if parameters:
            raise RefusedError(
                Cause.INVALID,
                "a model is loaded as it lies in the repository: no parameters can be given",
            )
        # Loading reads files and takes long; requests go on meanwhile.
        await asyncio.to_thread(self._repository.load, path["name"])
        return Reply.json({})

    async def _unload(self, path: dict[str, str], _: bytes) -> Reply:
        await asyncio.to_thread(self._repository.unload, path["name"])
        return Reply.json({})

    def _regions(self, path: dict[str, str], _: bytes) -> Reply:
        return Reply.json(
            [
                {
                    "name": region.name,
                    "key": region.key,
                    "offset": region.offset,
                    "byte_size": region.size,
                }
                for region in self._memory.regions(path["name"])
            ]
        )

    def _register(self, path: dict[str, str], body: bytes) -> Reply:
        said = read_json(body)
        self._memory.register(
            Region(
                path["name"],
                str(said.get("key", "")),
                whole_number(said.get("offset", 0), "offset"),
                whole_number(said.get("byte_size"), "byte_size"),
            )
        )
        return Reply.json({})

    def _unregister(self, path: dict[str, str], _: bytes) -> Reply:
        self._memory.unregister(path["name"])
        return Reply.json({})

    def _find(self, path: dict[str, str]) -> ServedModel:
        return self._repository.find(path["name"], path["version"])
