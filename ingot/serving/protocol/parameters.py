"""What a request may say beside its tensors."""

from __future__ import annotations

import time
from typing import Any

from ingot.serving.requests import DEFAULT_PRIORITY, Cause, RefusedError

MOST_TENSORS = 256
"""Most inputs or outputs of a request."""

_MICROSECONDS = 1e6


def deadline_of(microseconds: int) -> float | None:
    """Returns when a request's answer is of no use any more, by its timeout; 0 for never."""
    return time.monotonic() + microseconds / _MICROSECONDS if microseconds else None


def priority_of(said: int) -> int:
    """Returns a request's priority; 0 for the default."""
    return said or DEFAULT_PRIORITY


def whole_number(value: Any, name: str) -> int:
    """Returns a parameter that is a number from 0 on.

    Raises:
        RefusedError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise RefusedError(Cause.INVALID, f"'{name}' has to be a whole number from 0 on")
    return value
