"""What became of a load's requests."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import numpy.typing as npt

_OK = 200
# A server that falls behind answers for longer than requests came: by more than this part, beside
# the seconds that the last answers take.
_KEEPING_UP = 0.8
_TAIL = 0.02


@dataclasses.dataclass
class LoadOutcome:
    """What became of the requests of one load.

    Attributes:
        seconds: How long it took, to the last answer.
        sent: Requests that were sent.
        latencies: Seconds from when a request was due to its answer, of those answered with 200.
        statuses: How many answers had which status.
        lost: Requests without an answer.
        wrong: Answers with 200 that are not what they should be.
        came: For how long requests came, in an open loop; 0 in a closed one.
    """

    seconds: float
    sent: int
    latencies: npt.NDArray[np.float64]
    statuses: dict[int, int]
    lost: int
    wrong: int = 0
    came: float = 0.0

    @property
    def keeps_up(self) -> bool:
        """Whether answers came about as fast as requests did."""
        return not self.came or self.seconds <= self.came / _KEEPING_UP + _TAIL

    @property
    def answered(self) -> int:
        """Requests that got a result."""
        return self.statuses.get(_OK, 0)

    @property
    def throughput(self) -> float:
        """Results per second."""
        return self.answered / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Seconds within which a part of the results came; infinite if there were none."""
        if not len(self.latencies):
            return float("inf")
        return float(np.percentile(self.latencies, percent))


class Collector:
    """Takes in answers as they come."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: collections.Counter[int] = collections.Counter()
        self.sent = 0
        self.lost = 0
        self.wrong = 0

    def answered(self, status: int, seconds: float) -> None:
        """Takes in an answer."""
        self.statuses[status] += 1
        if status == _OK:
            self.latencies.append(seconds)

    def outcome(self, seconds: float, came: float = 0.0) -> LoadOutcome:
        """Sums up a load that took so many seconds."""
        return LoadOutcome(
            seconds,
            self.sent,
            np.array(self.latencies),
            dict(self.statuses),
            self.lost,
            self.wrong,
            came,
        )
