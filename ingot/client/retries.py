"""When a request is tried again, and after how long."""

from __future__ import annotations

import dataclasses
import random

from ingot.client.messages import ServerError
from ingot.errors import UsageError

# What may succeed later: no connection, and no room or no model just now. An inference changes
# nothing, so that one which may have run is asked for again.
_PASSING = frozenset({0, 502, 503})
_GROWTH = 2.0


@dataclasses.dataclass(frozen=True)
class Retries:
    """Exponential back-off with jitter, no shorter than the server asks for.

    Attributes:
        most: How often a request is tried again at most.
        first: Seconds before the first time.
        longest: Most seconds before any time.
    """

    most: int = 4
    first: float = 0.01
    longest: float = 2.0

    def __post_init__(self) -> None:
        """Refuses values that say nothing.

        Raises:
            UsageError: One is negative.
        """
        if self.most < 0 or self.first < 0 or self.longest < 0:
            raise UsageError("retries take numbers from 0 on")

    def wait(self, tried: int, error: ServerError, left: float) -> float | None:
        """Returns the seconds to wait before a request is tried again; None to give up.

        Args:
            tried: How often it was tried again already.
            error: What became of it.
            left: Seconds until its answer is of no use.
        """
        if tried >= self.most or error.status not in _PASSING:
            return None
        backoff = min(self.longest, self.first * _GROWTH**tried)
        # Full jitter: clients that were refused together do not come back together.
        wait = max(random.uniform(0, backoff), error.retry_after or 0.0)
        return wait if wait < left else None
