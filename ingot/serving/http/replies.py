"""Answers of the HTTP server."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import orjson

from ingot.errors import IngotError, UsageError
from ingot.serving.requests import Cause, RefusedError

STATUSES = {
    Cause.INVALID: 400,
    Cause.UNAUTHENTICATED: 401,
    Cause.NOT_FOUND: 404,
    Cause.TOO_LARGE: 413,
    Cause.CANCELLED: 499,
    Cause.FAILED: 500,
    Cause.OVERLOADED: 503,
    Cause.UNAVAILABLE: 503,
    Cause.DEADLINE: 504,
}
_JSON = b"application/json"
_BYTES = b"application/octet-stream"

Headers = list[tuple[bytes, bytes]]


@dataclasses.dataclass
class Reply:
    """An answer.

    Attributes:
        body: Its body.
        content_type: What the body is.
        status: The status.
        headers: Further headers.
    """

    body: bytes
    content_type: bytes = _JSON
    status: int = 200
    headers: Headers = dataclasses.field(default_factory=list)

    @staticmethod
    def json(value: Any, status: int = 200) -> Reply:
        """An answer of JSON."""
        return Reply(orjson.dumps(value), status=status)

    @staticmethod
    def inference(pieces: Sequence[bytes | memoryview], header_length: int | None) -> Reply:
        """An answer of inference: JSON, and bytes behind it."""
        if header_length is None:
            return Reply(b"".join(pieces))
        length = str(header_length).encode()
        return Reply(
            b"".join(pieces), _BYTES, headers=[(b"inference-header-content-length", length)]
        )

    def all_headers(self) -> Headers:
        """The headers, with those that follow from the body."""
        return [
            (b"content-type", self.content_type),
            (b"content-length", str(len(self.body)).encode()),
            *self.headers,
        ]


def error_reply(error: IngotError) -> Reply:
    """The answer to a request that has no result: one line, no trace."""
    if not isinstance(error, RefusedError):
        cause = Cause.INVALID if isinstance(error, UsageError) else Cause.FAILED
        error = RefusedError(cause, str(error))
    reply = Reply.json({"error": str(error)}, STATUSES[error.cause])
    if error.retry_after is not None:
        # Whole seconds, as HTTP has them; clients of ours read the exact ones.
        reply.headers.append((b"retry-after", str(math.ceil(error.retry_after)).encode()))
        reply.headers.append((b"retry-after-ms", f"{error.retry_after * 1e3:.1f}".encode()))
    if error.cause is Cause.UNAUTHENTICATED:
        reply.headers.append((b"www-authenticate", b"Bearer"))
    return reply
