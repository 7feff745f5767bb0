"""Runs the requests of one model: lets them wait, joins them, and gives each its own outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from ingot.errors import IngotError, InputError, first_line
from ingot.runtime.manifest import TensorSpec
from ingot.serving.batching.pace import Pace
from ingot.serving.batching.paying_rows import PayingRows
from ingot.serving.batching.policy import BatchPolicy
from ingot.serving.batching.queueing import Ticket, WaitingLine
from ingot.serving.batching.shapes import Joiner, Key
from ingot.serving.requests import Cause, InferenceRequest, Outcome, RefusedError

Array = npt.NDArray[Any]
Run = Callable[[Mapping[str, Array]], Mapping[str, Array]]
Observe = Callable[[Sequence[Ticket], int, float, float], None]

# Seconds: clients that came back at once would only make the load larger.
_SOONEST_RETRY = 0.001
# Shapes of requests that something is known of; clients that send more of them start anew.
_MOST_KEYS = 256


class Scheduler:
    """The waiting line of a model and the threads that run it.

    Each of ``policy.instances`` threads takes a batch, runs it and hands over the answers of all
    its requests at once. A batch that fails is run again request by request, so that an error is
    that of the request which causes it.

    Attributes:
        policy: How requests are joined and bounded.
    """

    def __init__(
        self,
        name: str,
        run: Run,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        policy: BatchPolicy,
        observe: Observe | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts the threads.

        Args:
            name: The model's name, for messages.
            run: Runs a batch; called from several threads at once.
            inputs: What the model takes.
            outputs: What it gives.
            policy: How requests are joined and bounded.
            observe: Told of each batch that ran: its tickets, its rows, when it started and ended
                by ``clock``.
            clock: Tells seconds; requests' deadlines are in its time.
        """
        self.policy = policy
        self._clock = clock
        self._name = name
        self._run = run
        self._joiner = Joiner(inputs, outputs)
        axis = self._joiner.axis
        self._most_rows = 1 if axis is None else policy.max_batch_size
        self._padded = None if axis is None else axis.rows
        if self._padded is not None:
            self._most_rows = min(self._most_rows, self._padded)
        self._observe = observe
        self._line = WaitingLine()
        self._pace = Pace()
        self._paying: dict[Key, PayingRows] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._running = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"ingot-serve-{name}-{i}", daemon=True)
            for i in range(policy.instances)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def joins(self) -> bool:
        """Whether the model's requests can be joined."""
        return self._joiner.axis is not None

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._line.requests

    @property
    def running(self) -> int:
        """Batches that run."""
        return self._running

    def submit(
        self, request: InferenceRequest, answered: Callable[[Ticket, Outcome], None]
    ) -> Ticket:
        """Lets a request wait for its turn.

        Args:
            request: The request.
            answered: Called with the outcome, on the thread that ran it; must not block.

        Returns:
            A ticket, by which it can be cancelled.

        Raises:
            RefusedError: It does not fit the model, there is no room, the answer would come too
                late, or the model is about to go.
        """
        try:
            rows, key = self._joiner.check(request.inputs)
        except InputError as error:
            raise RefusedError(Cause.INVALID, str(error)) from None
        ticket = Ticket(request, rows, key, answered, arrived=self._clock())
        with self._changed:
            if self._closing:
                raise RefusedError(Cause.UNAVAILABLE, f"model {self._name} is being unloaded")
            if self._line.requests >= self.policy.max_queue:
                raise RefusedError(
                    Cause.OVERLOADED,
                    f"{self._line.requests} requests wait for model {self._name}, no more may",
                    retry_after=max(self._backlog(), _SOONEST_RETRY),
                )
            self._require_in_time(ticket)
            self._line.add(ticket)
            self._changed.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Gives up a request: its place in the line is free; what runs already goes on."""
        with self._changed:
            ticket.cancelled = True
            self._line.remove(lambda other: other is ticket)

    def close(self, timeout: float | None = None) -> None:
        """Answers what waits and ends the threads; what comes from now on is refused.

        Args:
            timeout: Seconds to wait; what still waits then is refused.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - time.monotonic()))
        with self._changed:
            left = self._line.remove(lambda _: True)
        for ticket in left:
            ticket.answered(ticket, RefusedError(Cause.UNAVAILABLE, "the server is about to end"))

    def _backlog(self) -> float:
        return self._pace.wait(self._line.rows, self._most_rows, self.policy.instances)

    def _require_in_time(self, ticket: Ticket) -> None:
        deadline = ticket.request.deadline
        if deadline is None:
            return
        ready = ticket.arrived + self._backlog() + self._pace.batch_seconds
        if ready > deadline:
            raise RefusedError(
                Cause.DEADLINE,
                f"model {self._name} would answer in about {ready - ticket.arrived:.3g} s, "
                "which is later than the request's deadline",
            )

    def _work(self) -> None:
        while True:
            tickets = self._next_batch()
            if tickets is None:
                return
            try:
                self._run_batch(tickets)
            finally:
                with self._changed:
                    self._running -= 1

    def _next_batch(self) -> list[Ticket] | None:
        """Waits for a batch and takes it; None when there will be none any more."""
        while True:
            with self._changed:
                expired = self._drop_expired()
                taken = None if expired else self._taken()
                if taken is None and not expired:
                    if self._closing and not self._line:
                        return None
                    self._changed.wait(self._patience())
            for ticket in expired:
                ticket.answered(ticket, _expired(self._clock() - ticket.arrived))
            if taken is not None:
                return taken

    def _taken(self) -> list[Ticket] | None:
        """Takes a batch, if there is one that need not wait."""
        if not self._line:
            return None
        head, now = self._line.head(), self._clock()
        rows = self._rows_to_run(head, now - head.arrived)
        if not rows:
            return None
        taken = self._line.take(head.key, rows)
        self._running += 1
        for ticket in taken:
            ticket.started = now
        if self._line:
            self._changed.notify()
        return taken

    def _patience(self) -> float | None:
        """Seconds until something has to be looked at, though nothing came; None for never."""
        if not self._line:
            return None
        return max(0.0, self._line.head().arrived + self.policy.max_delay - self._clock())

    def _rows_to_run(self, head: Ticket, waited: float) -> int:
        if self._most_rows == 1:
            return 1
        waiting = self._line.rows_with(head.key)
        paying = self._paying_of(head.key)
        due = waiting
        if not self._closing:
            due = self.policy.rows_to_run(waiting, waited, paying.rows)
        return due if due < paying.rows else paying.next_rows(waiting)

    def _paying_of(self, key: Key) -> PayingRows:
        paying = self._paying.get(key)
        if paying is None:
            if len(self._paying) >= _MOST_KEYS:
                self._paying.pop(next(iter(self._paying)))
            paying = PayingRows(self._most_rows, self.policy.preferred_sizes)
            self._paying[key] = paying
        return paying

    def _rows_to_pad_to(self, key: Key, rows: int) -> int | None:
        """Rows that a batch is filled up to; None for as many as it has."""
        if self._padded is not None or self._most_rows == 1:
            return self._padded
        with self._changed:
            return self._paying_of(key).padded(rows)

    def _drop_expired(self) -> list[Ticket]:
        """Takes out what cannot be answered in time any more."""
        if self.policy.timeout is None and not self._line.deadlines:
            return []
        now = self._clock()
        soonest = now + self._pace.batch_seconds

        def late(ticket: Ticket) -> bool:
            deadline, timeout = ticket.request.deadline, self.policy.timeout
            return (deadline is not None and soonest > deadline) or (
                timeout is not None and now - ticket.arrived > timeout
            )

        return self._line.remove(late)

    def _run_batch(self, tickets: list[Ticket]) -> None:
        rows = [ticket.rows for ticket in tickets]
        padded = self._rows_to_pad_to(tickets[0].key, sum(rows))
        begin, succeeded = self._clock(), True
        try:
            outcomes: list[Outcome] = list(self._results(tickets, rows, padded))
        except Exception as error:  # noqa: BLE001  # clients wait for an answer
            succeeded = False
            if len(tickets) == 1 or isinstance(error, RefusedError):
                outcomes = [_failure(error)] * len(tickets)  # a refusal is of no request's making
            else:
                outcomes = self._one_by_one(tickets)
        end = self._clock()
        with self._changed:
            self._pace.add(sum(rows), end - begin)
        if self._observe is not None:
            self._observe(tickets, sum(rows), begin, end)
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            ticket.answered(ticket, outcome)
        if succeeded and self._most_rows > 1:
            ran = sum(rows) if padded is None or padded == self._padded else padded
            with self._changed:
                # With handing over the answers: larger batches save that, too.
                self._paying_of(tickets[0].key).add(ran, self._clock() - begin)

    def _results(
        self, tickets: Sequence[Ticket], rows: Sequence[int], padded: int | None
    ) -> list[dict[str, Array]]:
        batch = self._joiner.join([ticket.request.inputs for ticket in tickets], rows, padded)
        begin = self._clock()
        outputs = self._run(batch)
        end = self._clock()
        for ticket in tickets:
            ticket.ran_from, ticket.ran_until = begin, end
        return self._joiner.part(outputs, rows)

    def _one_by_one(self, tickets: Sequence[Ticket]) -> list[Outcome]:
        """Each request alone, so that only what fails alone has failed."""
        outcomes: list[Outcome] = []
        for ticket in tickets:
            try:
                outcomes += self._results([ticket], [ticket.rows], self._padded)
            except Exception as error:  # noqa: BLE001  # as above
                outcomes.append(_failure(error))
        return outcomes


def _failure(error: Exception) -> RefusedError:
    """What a client is told: our own errors as they are, of others no more than that they were."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, InputError):
        return RefusedError(Cause.INVALID, str(error))
    if isinstance(error, IngotError):
        return RefusedError(Cause.FAILED, str(error))
    if isinstance(error, MemoryError):
        return RefusedError(Cause.OVERLOADED, "there is no memory left for this request", 1.0)
    return RefusedError(
        Cause.FAILED, f"the model failed: {type(error).__name__}: {first_line(error)}"
    )


def _expired(waited: float) -> RefusedError:
    return RefusedError(Cause.DEADLINE, f"no answer in time: the request waited {waited:.3g} s")
