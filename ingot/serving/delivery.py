"""From the threads that run models to the event loop that answers clients."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from ingot.serving.batching.queueing import Ticket
from ingot.serving.models.repository import Repository
from ingot.serving.models.served_model import ServedModel
from ingot.serving.request_traces import RequestTraces
from ingot.serving.requests import Cause, InferenceRequest, Outcome, RefusedError

Array = npt.NDArray[Any]


class Delivery:
    """Asks a repository's models on behalf of an event loop.

    The loop is woken once for all answers of a batch: waking it costs as much as a small model.

    Attributes:
        under_way: Requests that have no answer yet.
    """

    def __init__(
        self, repository: Repository, most: int, traces: RequestTraces | None = None
    ) -> None:
        """Belongs to the loop that runs.

        Args:
            repository: Where models are found.
            most: Most requests under way; beyond it they are refused.
            traces: What takes traces of some of them; None takes none.
        """
        self._traces = traces
        self._repository = repository
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._answers: collections.deque[tuple[asyncio.Future[Outcome], Outcome]] = (
            collections.deque()
        )
        self._woken = False
        self.under_way = 0

    async def infer(
        self, name: str, version: str, request: InferenceRequest, asked: Asked | None = None
    ) -> tuple[ServedModel, Mapping[str, Array]]:
        """Returns the model that answered and its outputs.

        Args:
            name: The model.
            version: Its version; the latest if none is named.
            request: The request.
            asked: By which the request can be given up.

        Raises:
            RefusedError: There is no result.
        """
        if self.under_way >= self._most:
            raise RefusedError(
                Cause.OVERLOADED, f"{self.under_way} requests are under way, no more may", 0.05
            )
        future: asyncio.Future[Outcome] = self._loop.create_future()

        def answered(_: Ticket, outcome: Outcome) -> None:
            self._put(future, outcome)

        model, ticket = self._repository.submit(name, version, request, answered)
        self.under_way += 1
        if asked is not None:
            asked.begin(model, ticket, future)
        succeeded = False
        try:
            outcome = await future
            succeeded = not isinstance(outcome, RefusedError)
        except asyncio.CancelledError:
            model.cancel(ticket)
            raise
        finally:
            self.under_way -= 1
            model.counts.answered(succeeded, time.monotonic() - ticket.arrived)
        if self._traces is not None and self._traces.samples():
            # Called when the loop gets to something else: the answer is written then.
            add, woken = self._traces.add, time.monotonic()
            self._loop.call_soon(add, ticket, model.name, model.version, outcome, woken)
        if isinstance(outcome, RefusedError):
            raise outcome
        return model, outcome

    def _put(self, future: asyncio.Future[Outcome], outcome: Outcome) -> None:
        self._answers.append((future, outcome))
        if not self._woken:
            self._woken = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it who asked
                self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        # Before the answers are read: one that comes now wakes the loop again.
        self._woken = False
        while self._answers:
            future, outcome = self._answers.popleft()
            if not future.done():
                future.set_result(outcome)


class Asked:
    """Requests under way, as who asked can give them up together."""

    def __init__(self) -> None:
        self._parts: list[tuple[ServedModel, Ticket, asyncio.Future[Outcome]]] = []
        self._watcher: asyncio.Task[None] | None = None

    def begin(self, model: ServedModel, ticket: Ticket, future: asyncio.Future[Outcome]) -> None:
        """Says what there is to give up, too."""
        self._parts.append((model, ticket, future))

    def watched_by(self, watcher: asyncio.Task[None]) -> None:
        """Has a task look whether the client is there, until the requests end."""
        self._watcher = watcher

    def end(self) -> None:
        """There is nothing to give up any more."""
        self._parts.clear()
        if self._watcher is not None:
            self._watcher.cancel()

    def give_up(self) -> None:
        """Frees the requests' places; they end with a refusal."""
        for model, ticket, future in self._parts:
            model.cancel(ticket)
            if not future.done():
                future.set_result(RefusedError(Cause.CANCELLED, "the client left"))
