"""A client of a server, for threads."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy.typing as npt
import urllib3

from ingot.client.batcher import Batcher
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


class Client:
    """Asks a server's models; may be used from several threads.

    Example:
        >>> from ingot.client import Client
        >>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
        ...     outputs = client.infer("cifar", {"image": image})
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 60.0,
        retries: Retries | int = 4,
        encoding: str | None = None,
        connections: int = 8,
        certificates: str | None = None,
    ) -> None:
        """Connects when it is first asked.

        Args:
            url: Where the server is, ``http://127.0.0.1:8000``.
            token: The bearer token that the server wants.
            timeout: Seconds for a request with all its retries, where it says no other.
            retries: How often a request that found no room is tried again, or all about it.
            encoding: How bodies are packed, ``gzip``, ``deflate`` or ``zstd``: for slow networks.
            connections: Connections that are kept for threads at a time.
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
        self._pool = urllib3.PoolManager(
            maxsize=connections, block=False, retries=False, ca_certs=certificates
        )

    def infer(
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
        """Runs one inference.

        Args:
            model: The model.
            inputs: Arrays by the names of its inputs.
            version: Its version; the latest by default.
            outputs: The outputs that are wanted; all by default.
            id: A name for the server's log.
            priority: From 1, the most urgent; 0 for the server's default.
            timeout: Seconds after which the answer is of no use: it is refused rather than late.

        Returns:
            Arrays by the names of the outputs.

        Raises:
            ServerError: There is no result; says why.
            UsageError: An input is no array that the protocol carries.
        """
        question = Question(inputs, outputs, id, priority, timeout)
        body, headers = self._ask(
            "POST", model_path(model, version, "infer"), pack(question, self._encoding), timeout
        )
        return read_answer(body, headers.get(HEADER_LENGTH))

    def infer_list(
        self,
        model: str,
        requests: Sequence[Mapping[str, Any]],
        *,
        version: str = "",
        timeout: float | None = None,
    ) -> list[dict[str, Array] | ServerError]:
        """Sends several requests in one message.

        Args:
            model: The model.
            requests: The inputs of each.
            version: Its version.
            timeout: Seconds after which the answers are of no use.

        Returns:
            The outputs of each; in the place of one that has no result, its error.

        Raises:
            ServerError: There is no answer at all.
        """
        questions = [Question(inputs, timeout=timeout) for inputs in requests]
        body, headers = self._ask(
            "POST",
            model_path(model, version, "infer-list"),
            pack_list(questions, self._encoding),
            timeout,
        )
        return read_list(body, headers.get(HEADER_LENGTH))

    def batcher(
        self, model: str, *, version: str = "", max_rows: int = 32, max_delay: float = 0.002
    ) -> Batcher:
        """Returns what joins small requests of several threads into one.

        Args:
            model: The model, whose inputs and outputs begin with an open axis.
            version: Its version.
            max_rows: Most rows that are joined.
            max_delay: Seconds that a request waits for others.

        Raises:
            ServerError: There is no such model.
            UsageError: Its requests cannot be joined.
        """
        return Batcher(
            self.model(model, version),
            lambda inputs: self.infer(model, inputs, version=version),
            max_rows,
            max_delay,
        )

    def is_ready(self, model: str = "", version: str = "") -> bool:
        """Whether the server, or one of its models, takes requests."""
        path = model_path(model, version, "ready") if model else "/v2/health/ready"
        try:
            self._once("GET", path, NOTHING, self._timeout)
        except ServerError:
            return False
        return True

    def model(self, name: str, version: str = "") -> ModelInfo:
        """Returns what the server says of a model.

        Raises:
            ServerError: There is no such model.
        """
        return read_model(self._ask("GET", model_path(name, version))[0])

    def load(self, model: str) -> None:
        """Has the server load a model anew.

        Raises:
            ServerError: It cannot.
        """
        self._ask("POST", f"/v2/repository/models/{model}/load")

    def unload(self, model: str) -> None:
        """Has the server unload a model.

        Raises:
            ServerError: It is not loaded.
        """
        self._ask("POST", f"/v2/repository/models/{model}/unload")

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def __enter__(self) -> Client:
        """Returns the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the connections."""
        self.close()

    def _ask(
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
                return self._once(method, path, packed, max(left, 0.001))
            except ServerError as error:
                wait = self._retries.wait(tried, error, until - time.monotonic())
                if wait is None:
                    raise
            time.sleep(wait)
            tried += 1

    def _once(
        self, method: str, path: str, packed: Packed, seconds: float
    ) -> tuple[bytes, Mapping[str, str]]:
        try:
            response = self._pool.request(
                method,
                self._url + path,
                body=packed.body or None,
                headers=self._headers | packed.headers,
                timeout=seconds,
                decode_content=False,
            )
        except urllib3.exceptions.NewConnectionError as error:  # a timeout too, for urllib3
            raise ServerError(f"{self._url} does not answer: {first_line(error)}") from None
        except urllib3.exceptions.TimeoutError:
            raise ServerError(f"{self._url} did not answer within {seconds:.3g} s", 504) from None
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(f"{self._url} does not answer: {first_line(error)}") from None
        if response.status != _OK:
            raise error_of(response.status, response.data, response.headers.get("retry-after-ms"))
        return unpack(response.data, response.headers.get("content-encoding", "")), response.headers
