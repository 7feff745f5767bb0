"""A client of a server, for asyncio."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import aiohttp
import numpy.typing as npt

from ingot.client.messages import (
    HEADER_LENGTH,
    NOTHING,
    ModelInfo,
    Packed,
    Question,
    ServerError,
    error_of,
    model_path,
    pack,
    pack_list,
    read_answer,
    read_list,
    read_model,
    unpack,
)
from ingot.client.retries import Retries
from ingot.errors import UsageError, first_line

Array = npt.NDArray[Any]
_OK = 200


class AsyncClient:
    """As :class:`ingot.client.Client`, its methods coroutines.

    Example:
        >>> async with AsyncClient("http://127.0.0.1:8000") as client:  # doctest: +SKIP
        ...     outputs = await client.infer("cifar", {"image": image})
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 60.0,
        retries: Retries | int = 4,
        encoding: str | None = None,
        connections: int = 64,
        certificates: str | None = None,
    ) -> None:
        """Connects when it is first asked.

        Args:
            url: Where the server is, ``http://127.0.0.1:8000``.
            token: The bearer token that the server wants.
            timeout: Seconds for a request with all its retries, where it says no other.
            retries: How often a request that found no room is tried again, or all about it.
            encoding: How bodies are packed, ``gzip``, ``deflate`` or ``zstd``: for slow networks.
            connections: Most connections at a time.
            certificates: A file with the certificates to trust, where not the system's.

        Raises:
            UsageError: The URL is none.
        """
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is no URL of a server, as http://127.0.0.1:8000 is")
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._retries = retries if isinstance(retries, Retries) else Retries(retries)
        self._encoding = encoding
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._connections = connections
        self._certificates = certificates
        self._session: aiohttp.ClientSession | None = None

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Any],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        id: str = "",
        priority: int = 0,
        timeout: float | None = None,
    ) -> dict[str, Array]:
        """Runs one inference; see :meth:`ingot.client.Client.infer`.

        Raises:
            ServerError: There is no result; says why.
            UsageError: An input is no array that the protocol carries.
        """
        question = Question(inputs, outputs, id, priority, timeout)
        body, headers = await self._ask(
            "POST", model_path(model, version, "infer"), pack(question, self._encoding), timeout
        )
        return read_answer(body, headers.get(HEADER_LENGTH))

    async def infer_list(
        self,
        model: str,
        requests: Sequence[Mapping[str, Any]],
        *,
        version: str = "",
        timeout: float | None = None,
    ) -> list[dict[str, Array] | ServerError]:
        """Sends several requests in one message; see :meth:`ingot.client.Client.infer_list`.

        Raises:
            ServerError: There is no answer at all.
        """
        questions = [Question(inputs, timeout=timeout) for inputs in requests]
        body, headers = await self._ask(
            "POST",
            model_path(model, version, "infer-list"),
            pack_list(questions, self._encoding),
            timeout,
        )
        return read_list(body, headers.get(HEADER_LENGTH))

    async def is_ready(self, model: str = "", version: str = "") -> bool:
        """Whether the server, or one of its models, takes requests."""
        path = model_path(model, version, "ready") if model else "/v2/health/ready"
        try:
            await self._once("GET", path, NOTHING, self._timeout)
        except ServerError:
            return False
        return True

    async def model(self, name: str, version: str = "") -> ModelInfo:
        """Returns what the server says of a model.

        Raises:
            ServerError: There is no such model.
        """
        body, _ = await self._ask("GET", model_path(name, version))
        return read_model(body)

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> AsyncClient:
        """Returns the client itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the connections."""
        await self.close()

    async def _ask(
        self,
        method: str,
        path: str,
        packed: Packed = NOTHING,
        timeout: float | None = None,
    ) -> tuple[bytes, Mapping[str, str]]:
        until = time.monotonic() + (self._timeout if timeout is None else timeout)
        tried = 0
        while True:
            left = until - time.monotonic()
            try:
                return await self._once(method, path, packed, max(left, 0.001))
            except ServerError as error:
                wait = self._retries.wait(tried, error, until - time.monotonic())
                if wait is None:
                    raise
            await asyncio.sleep(wait)
            tried += 1

    async def _once(
        self, method: str, path: str, packed: Packed, seconds: float
    ) -> tuple[bytes, Mapping[str, str]]:
        if self._session is None:
            trusted: ssl.SSLContext | bool = True
            if self._certificates is not None:
                trusted = ssl.create_default_context(cafile=self._certificates)
            connector = aiohttp.TCPConnector(limit=self._connections, ssl=trusted)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=packed.body or None,
                headers=self._headers | packed.headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                body, status, headers = await response.read(), response.status, response.headers
        except asyncio.TimeoutError:
            raise ServerError(f"{self._url} did not answer within {seconds:.3g} s", 504) from None
        except aiohttp.ClientError as error:
            raise ServerError(f"{self._url} does not answer: {first_line(error)}") from None
        if status != _OK:
            raise error_of(status, body, headers.get("retry-after-ms"))
        return unpack(body, headers.get("content-encoding", "")), headers
