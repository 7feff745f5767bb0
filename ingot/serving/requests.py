"""What a server is asked and answers, whatever protocol carries it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from ingot.errors import IngotError

Array = npt.NDArray[Any]

DEFAULT_PRIORITY = 10
"""Between what is urgent, from 1 on, and what can wait."""


@dataclasses.dataclass(slots=True)
class InferenceRequest:
    """One inference that a client asks for.

    Attributes:
        inputs: Arrays by the names of the model's inputs.
        id: The client's name for it, which its answer bears.
        priority: Requests of a lower number go first.
        deadline: When its answer is of no use any more, by ``time.monotonic``; None for never.
    """

    inputs: Mapping[str, Array]
    id: str = ""
    priority: int = DEFAULT_PRIORITY
    deadline: float | None = None


class Cause(enum.Enum):
    """Why a request has no result; protocols have a status for each."""

    INVALID = "invalid"
    """The request itself is wrong."""
    NOT_FOUND = "not found"
    """There is no such model, version or resource."""
    TOO_LARGE = "too large"
    """It is beyond one of the server's limits."""
    UNAUTHENTICATED = "unauthenticated"
    """It has no valid token."""
    OVERLOADED = "overloaded"
    """There is no room for it now; later there may be."""
    UNAVAILABLE = "unavailable"
    """The model or the server is not ready, or about to end."""
    DEADLINE = "deadline"
    """It cannot be answered in time, or was not."""
    CANCELLED = "cancelled"
    """The client left."""
    FAILED = "failed"
    """The model failed on it."""


class RefusedError(IngotError):
    """A request that gets no result.

    Attributes:
        cause: Why.
        retry_after: Seconds after which it may succeed; None where that is not known.
    """

    def __init__(self, cause: Cause, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.retry_after = retry_after


Outcome = Mapping[str, Array] | RefusedError
"""The outputs by name, or why there are none."""
