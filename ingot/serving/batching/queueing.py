"""Requests that wait for their turn, in order of priority and arrival, by what joins them."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import time
from collections.abc import Callable

from ingot.serving.batching.shapes import Key
from ingot.serving.requests import InferenceRequest, Outcome


@dataclasses.dataclass(slots=True, eq=False)
class Ticket:
    """A request in a queue.

    Attributes:
        request: The request, whose arrays fit the model.
        rows: How many rows of a batch it takes.
        key: What it can be joined with.
        answered: Called once, with the outcome, on the thread that ran it.
        arrived: When it came, by ``time.monotonic``.
        started: When its batch began to run; 0 while it waits.
        ran_from: When the model began to run, with its batch joined; 0 before.
        ran_until: When it had run; 0 before.
        cancelled: Whether nobody waits for it any more.
    """

    request: InferenceRequest
    rows: int
    key: Key
    answered: Callable[[Ticket, Outcome], None]
    arrived: float = dataclasses.field(default_factory=time.monotonic)
    started: float = 0.0
    ran_from: float = 0.0
    ran_until: float = 0.0
    cancelled: bool = False


_Entry = tuple[int, int, Ticket]


class _Joinable:
    """Tickets of one key, a heap, and how many rows they are."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self.rows = 0


class WaitingLine:
    """Tickets that wait, those that can be joined in one line each.

    Not safe for several threads: its owner holds a lock.

    Attributes:
        requests: How many wait.
        rows: How many rows they are.
        deadlines: How many of them have a deadline.
    """

    def __init__(self) -> None:
        self._lines: dict[Key, _Joinable] = {}
        self._arrivals = itertools.count()
        self.requests = 0
        self.rows = 0
        self.deadlines = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return self.requests > 0

    def add(self, ticket: Ticket) -> None:
        """Lets a ticket wait."""
        line = self._lines.setdefault(ticket.key, _Joinable())
        heapq.heappush(line.entries, (ticket.request.priority, next(self._arrivals), ticket))
        self._count(line, ticket, 1)

    def head(self) -> Ticket:
        """The ticket whose turn it is; there has to be one."""
        return min(line.entries[0] for line in self._lines.values())[2]

    def rows_with(self, key: Key) -> int:
        """Rows of all that can be joined with a key."""
        line = self._lines.get(key)
        return 0 if line is None else line.rows

    def take(self, key: Key, rows: int) -> list[Ticket]:
        """Removes and returns the first tickets of a key, of at most ``rows`` rows together.

        A request that has more by itself is taken alone.
        """
        line = self._lines[key]
        taken: list[Ticket] = []
        total = 0
        while line.entries and (not taken or total + line.entries[0][2].rows <= rows):
            ticket = heapq.heappop(line.entries)[2]
            total += ticket.rows
            taken.append(ticket)
            self._count(line, ticket, -1)
        if not line.entries:
            del self._lines[key]
        return taken

    def remove(self, leaves: Callable[[Ticket], bool]) -> list[Ticket]:
        """Removes and returns those that ``leaves`` is true of, in the order of their turns."""
        removed: list[_Entry] = []
        for key, line in list(self._lines.items()):
            leaving = [entry for entry in line.entries if leaves(entry[2])]
            if not leaving:
                continue
            gone = {entry[1] for entry in leaving}
            line.entries = [entry for entry in line.entries if entry[1] not in gone]
            heapq.heapify(line.entries)
            for entry in leaving:
                self._count(line, entry[2], -1)
            if not line.entries:
                del self._lines[key]
            removed += leaving
        return [entry[2] for entry in sorted(removed, key=lambda entry: entry[:2])]

    def _count(self, line: _Joinable, ticket: Ticket, sign: int) -> None:
        line.rows += sign * ticket.rows
        self.rows += sign * ticket.rows
        self.requests += sign
        self.deadlines += sign * (ticket.request.deadline is not None)
