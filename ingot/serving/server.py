"""A server: its models, its protocols, and how it starts and ends."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import uvicorn

from ingot.errors import UsageError, first_line
from ingot.serving.access_log import AccessLog
from ingot.serving.delivery import Delivery
from ingot.serving.grpc.servicer import Servicer, start_grpc
from ingot.serving.http.application import HttpApplication
from ingot.serving.http.connection import BoundedConnection
from ingot.serving.models.repository import Repository, named_artifacts
from ingot.serving.options import ServerOptions
from ingot.serving.request_traces import RequestTraces
from ingot.serving.shared_memory import SharedMemory

_BACKLOG = 1024
# A fiftieth of Python's own: half as many requests again per second of a network of 0.1 ms, in
# batches of 32.
_SWITCH_SECONDS = 1e-4


class Server:
    """Serves artifacts until it is told to end.

    SIGTERM and SIGINT end it: it takes no new connections, says that it is not ready, answers what
    is under way within ``options.drain_seconds``, and unloads its models.

    Attributes:
        options: What it was told.
        repository: The models.
        application: What answers HTTP.
        servicer: What answers gRPC, once it has started.
        grpc_port: The port for gRPC, once it has started; None without.
        log: The access log.
        memory: The shared memory that clients registered.
        traces: What takes traces of requests; None where none are asked for.
    """

    def __init__(self, options: ServerOptions) -> None:
        """Loads every model and opens the port.

        Raises:
            UsageError: There is nothing to serve, or the port cannot be had.
            IngotError: A model cannot be loaded.
        """
        self.options = options
        self.servicer: Servicer | None = None
        self.grpc_port: int | None = None
        _require_folder(options.repository)
        self.log = AccessLog(options.access_log)
        self.traces: RequestTraces | None = None
        if options.trace_rate and options.trace_folder is not None:
            self.traces = RequestTraces(options.trace_rate, options.trace_folder)
        self.memory = SharedMemory(allowed=options.shared_memory)
        self.repository = Repository(
            options.of_model,
            named_artifacts(options.artifacts),
            options.repository,
            options.drain_seconds,
        )
        self._socket = _listening(options.host, options.port)
        try:
            self.repository.load_all()
        except BaseException:
            self._socket.close()
            self.repository.close()
            raise
        self.application = HttpApplication(self.repository, options, self.log, self.memory)

    @property
    def port(self) -> int:
        """The port for HTTP."""
        number: int = self._socket.getsockname()[1]
        return number

    @property
    def url(self) -> str:
        """Where HTTP is."""
        scheme = "http" if self.options.certificate is None else "https"
        host = self.options.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    def run(self, started: Callable[[], Any] = lambda: None) -> None:
        """Serves until a signal ends it.

        Args:
            started: Called when requests are answered.
        """
        options = self.options
        config = uvicorn.Config(
            self.application,
            http=BoundedConnection,
            loop="uvloop",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=max(1, round(options.drain_seconds)),
            ssl_certfile=options.certificate,
            ssl_keyfile=options.key,
        )
        # Models run outside of Python's lock; a thread whose batch is done waits for it this long.
        sys.setswitchinterval(_SWITCH_SECONDS)
        try:
            _Serving(config, self, started).run([self._socket])
        finally:
            self._socket.close()
            self.repository.close()
            self.log.close()
            if self.traces is not None:
                self.traces.close()
            self.memory.unregister()


class _Serving(uvicorn.Server):
    """A server of uvicorn's with gRPC beside it, that says when it is ready and when not."""

    def __init__(self, config: uvicorn.Config, server: Server, started: Callable[[], Any]) -> None:
        super().__init__(config)
        self._server = server
        self._tell = started
        self._grpc: grpc.aio.Server | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends in order at the first signal and at once at the second.

        Uvicorn's own raises the signal again afterwards: a server that was asked to end and did so
        would have failed.
        """
        del sig, frame
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        server, options = self._server, self._server.options
        delivery = Delivery(server.repository, options.max_requests, server.traces)
        server.application.delivery = delivery
        if options.grpc_port >= 0:
            servicer = Servicer(server.repository, delivery, options, server.log, server.memory)
            server.servicer = servicer
            self._grpc, server.grpc_port = await start_grpc(servicer, options)
        await super().startup(sockets)
        server.application.ready = True
        self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        server = self._server
        server.application.ready = False
        if server.servicer is not None:
            server.servicer.ready = False
        ending = []
        if self._grpc is not None:
            ending.append(asyncio.ensure_future(self._grpc.stop(server.options.drain_seconds)))
        await super().shutdown(sockets)
        await asyncio.gather(*ending)


def _listening(host: str, port: int) -> socket.socket:
    """Opens a port.

    Raises:
        UsageError: It cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
    except (OSError, UnicodeError) as error:
        opened.close()
        raise UsageError(f"cannot listen at {host}:{port}: {first_line(error)}") from None
    return opened


def _require_folder(folder: Path | None) -> None:
    if folder is not None and not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
