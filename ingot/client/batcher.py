"""Joins small requests of several threads before they are sent."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.client.messages import ModelInfo, ServerError
from ingot.errors import UsageError
from ingot.serving.batching.policy import BatchPolicy
from ingot.serving.batching.queueing import Ticket
from ingot.serving.batching.scheduler import Scheduler
from ingot.serving.requests import InferenceRequest, Outcome, RefusedError

Array = npt.NDArray[Any]
_MOST_WAITING = 100_000
# While one message is under way, the next is filled; a second hides the way back and forth.
_MESSAGES = 2


class Batcher:
    """Joins requests along their first axis: one message for many, and one answer.

    The server joins requests of all its clients by itself; this saves messages, where one program
    asks much in small pieces.
    """

    def __init__(
        self,
        model: ModelInfo,
        infer: Callable[[Mapping[str, Array]], Mapping[str, Array]],
        max_rows: int,
        max_delay: float,
    ) -> None:
        """Starts the threads that send.

        Args:
            model: What the server says of the model.
            infer: Asks the server.
            max_rows: Most rows that are joined.
            max_delay: Seconds that a request waits for others.

        Raises:
            UsageError: The model's requests cannot be joined.
        """
        policy = BatchPolicy(
            max_batch_size=max_rows,
            max_delay=max_delay,
            max_queue=_MOST_WAITING,
            instances=_MESSAGES,
        )
        self._scheduler = Scheduler(model.name, infer, model.inputs, model.outputs, policy)
        if not self._scheduler.joins:
            self._scheduler.close()
            raise UsageError(
                f"requests of '{model.name}' cannot be joined: not all of its inputs and outputs "
                "begin with an open axis"
            )

    def submit(self, inputs: Mapping[str, Any]) -> concurrent.futures.Future[dict[str, Array]]:
        """Sends a request with the next message.

        Raises:
            ServerError: It does not fit the model.
        """
        future: concurrent.futures.Future[dict[str, Array]] = concurrent.futures.Future()

        def answered(_: Ticket, outcome: Outcome) -> None:
            if isinstance(outcome, RefusedError):
                future.set_exception(ServerError(str(outcome)))
            else:
                future.set_result(dict(outcome))

        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        try:
            self._scheduler.submit(InferenceRequest(arrays), answered)
        except RefusedError as error:
            raise ServerError(str(error), 400) from None
        return future

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Sends a request with the next message and waits for its outputs.

        Raises:
            ServerError: There is no result.
        """
        return self.submit(inputs).result()

    def close(self) -> None:
        """Sends what waits, and ends."""
        self._scheduler.close()

    def __enter__(self) -> Batcher:
        """Returns the batcher itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Sends what waits, and ends."""
        self.close()
