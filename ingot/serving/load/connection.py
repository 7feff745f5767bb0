"""A connection that sends prepared requests: what makes the load must not be what limits it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

Check = Callable[[bytes], bool]


class Connection(asyncio.Protocol):
    """Sends one request at a time over a connection that is kept.

    Attributes:
        is_open: Whether it can send.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Takes in a part of an answer."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(ConnectionError(f"no answer of HTTP: {error}"))

    def on_body(self, body: bytes) -> None:
        """Takes in a part of a body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hands an answer over."""
        status, body = self._parser.get_status_code(), b"".join(self._body)
        self._body.clear()
        keeps = self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result((status, body))
        self._waiting = None
        if not keeps:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Ends; a request that is under way has no answer."""
        self._end(error or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends a request; returns the answer's status and body.

        Raises:
            OSError: There was no answer.
        """
        assert self._transport is not None
        self._waiting = self._loop.create_future()
        self._transport.write(request)
        return await self._waiting

    def close(self) -> None:
        """Closes the connection."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def _end(self, error: Exception) -> None:
        self.is_open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self._waiting = None


async def connect(host: str, port: int) -> Connection:
    """Opens a connection.

    Raises:
        OSError: Nothing listens there.
    """
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(loop), host, port)
    return connection


def prepared(host: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Returns a POST request as its bytes."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
