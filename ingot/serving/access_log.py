"""A line of JSON for each request."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import orjson

from ingot.errors import UsageError, first_line
from ingot.serving.http.replies import Reply

_STANDARD_OUTPUT = "-"


class AccessLog:
    """Writes what was asked and what was answered; nothing of the tensors."""

    def __init__(self, destination: str | None) -> None:
        """Opens the log.

        Args:
            destination: A file, which is added to, ``-`` for standard output, or None for no log.

        Raises:
            UsageError: The file cannot be written.
        """
        self._file: IO[bytes] | None = None
        if destination == _STANDARD_OUTPUT:
            self._file = sys.stdout.buffer
        elif destination is not None:
            try:
                self._file = Path(destination).open("ab")  # noqa: SIM115
            except OSError as error:
                raise UsageError(
                    f"cannot write the access log {destination}: {first_line(error)}"
                ) from None

    def request(self, scope: Mapping[str, Any], reply: Reply, started: float) -> None:
        """Logs an HTTP request that was answered.

        Args:
            scope: The request.
            reply: Its answer.
            started: When it came, by ``time.monotonic``.
        """
        if self._file is not None:
            client = scope.get("client") or ("", 0)
            self.line(
                client=client[0], protocol="http", method=scope["method"], path=scope["path"],
                status=reply.status, bytes=len(reply.body), started=started,
            )  # fmt: skip

    def line(self, *, started: float, **facts: Any) -> None:
        """Writes a line of facts, with the time and how long it took since ``started``."""
        if self._file is None:
            return
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        took = round((time.monotonic() - started) * 1e3, 3)
        self._file.write(orjson.dumps({"time": now, **facts, "ms": took}) + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None and self._file is not sys.stdout.buffer:
            self._file.close()
