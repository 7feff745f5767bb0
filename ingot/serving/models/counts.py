"""What happened to a model's requests so far: counts and durations."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence

from ingot.serving.batching.queueing import Ticket


@dataclasses.dataclass
class Duration:
    """How often something happened and how long it took in all.

    Attributes:
        count: How often.
        seconds: All durations together.
    """

    count: int = 0
    seconds: float = 0.0

    def add(self, count: int, seconds: float) -> None:
        """Takes in ``count`` occurrences of ``seconds`` together."""
        self.count += count
        self.seconds += seconds


class Counts:
    """Counts of one version of a model; may be written from several threads.

    Attributes:
        success: Requests that got a result, from arrival to result.
        fail: Requests that got none.
        queue: How long requests waited.
        compute: How long the batches took in which they ran, each request its batch's time.
        batches: Batches by their rows, and how long they took.
        rows: Rows computed.
        executions: Batches that ran.
        last: When the last request was answered, by ``time.time``; 0 if none was.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.success = Duration()
        self.fail = Duration()
        self.queue = Duration()
        self.compute = Duration()
        self.batches: dict[int, Duration] = {}
        self.rows = 0
        self.executions = 0
        self.last = 0.0

    def ran(self, tickets: Sequence[Ticket], rows: int, begin: float, end: float) -> None:
        """Takes in a batch that ran, by ``time.monotonic``."""
        waited = sum(ticket.started - ticket.arrived for ticket in tickets)
        with self._lock:
            self.queue.add(len(tickets), waited)
            self.compute.add(len(tickets), (end - begin) * len(tickets))
            self.batches.setdefault(rows, Duration()).add(1, end - begin)
            self.rows += rows
            self.executions += 1

    def answered(self, succeeded: bool, seconds: float) -> None:
        """Takes in a request that was answered."""
        with self._lock:
            (self.success if succeeded else self.fail).add(1, seconds)
            self.last = time.time()
