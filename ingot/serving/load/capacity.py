"""How much a server takes before its slowest answers are too slow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from ingot.serving.load.outcomes import LoadOutcome

_GROWTH = 2.0
# The rate is found to this part of itself.
_PRECISION = 0.06
# What was sent and not answered in time: more is no load that the server takes.
_LEAST_ANSWERED = 0.99


@dataclasses.dataclass(frozen=True)
class Capacity:
    """The largest load within a bound.

    Attributes:
        rate: Requests per second that came; 0 if no load was within the bound.
        outcome: What became of them; of the smallest load tried if none was.
    """

    rate: float
    outcome: LoadOutcome


def capacity(load: Callable[[float], LoadOutcome], p99: float, guess: float) -> Capacity:
    """Finds the largest rate at which the 99th percentile is within a bound.

    Rates are doubled while they hold and then halved between, on a logarithmic scale.

    Args:
        load: Puts a rate on the server.
        p99: The bound, in seconds.
        guess: A rate that the server is likely to take.
    """
    best: Capacity | None = None
    low, high = 0.0, math.inf
    rate = guess
    while True:
        outcome = load(rate)
        if holds(outcome, p99):
            low, best = rate, Capacity(rate, outcome)
        else:
            high = rate
        if best is None:
            if rate < guess / 64:
                return Capacity(0.0, outcome)
            rate /= _GROWTH
        elif math.isinf(high):
            rate *= _GROWTH
        elif high / low < 1 + _PRECISION:
            return best
        else:
            rate = math.sqrt(low * high)


def holds(outcome: LoadOutcome, p99: float) -> bool:
    """Whether a load was answered within a bound."""
    return (
        outcome.percentile(99) <= p99
        and outcome.lost == 0
        and outcome.keeps_up
        and outcome.answered >= _LEAST_ANSWERED * outcome.sent
    )
