"""Traces of some of a server's requests, in the profiler's format: ``ingot trace`` reads them.

What a request came through is told by the times that its ticket bears anyway, so that requests
which are not sampled cost a random number.
"""

from __future__ import annotations

import collections
import itertools
import logging
import random
import threading
import time
from pathlib import Path

from ingot.errors import UsageError, first_line
from ingot.runtime.profiling.buffers import this_thread
from ingot.runtime.profiling.entries import EVENT
from ingot.runtime.profiling.recording import ProfilingSession
from ingot.serving.batching.queueing import Ticket
from ingot.serving.requests import Outcome, RefusedError

_logger = logging.getLogger("ingot.serving")
_SOURCE = "serve"
# Seconds between files, of requests and not of their traces, which are some six events each.
_WRITE_EVERY = 5.0
_MOST_EVENTS = 100_000
# Files of one server; older ones are removed.
_MOST_FILES = 100


class RequestTraces:
    """Takes a share of the requests, and writes what they came through to a folder.

    Every few seconds one file is written, ``requests-TIME-N.json.gz``, if any were sampled.
    """

    def __init__(self, rate: float, folder: Path) -> None:
        """Starts a thread that writes.

        Args:
            rate: Share of the requests that is traced.
            folder: Where the files go; made if it is not there.

        Raises:
            UsageError: It cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"no traces can be in {folder}: {first_line(error)}") from None
        self._rate = rate
        self._folder = folder
        self._numbers = itertools.count(1)
        self._requests = itertools.count(1)
        self._written: collections.deque[Path] = collections.deque()
        self._lock = threading.Lock()
        self._session = _session()
        self._empty = True
        self._ending = threading.Event()
        # Both clocks count alike, but need not from the same moment.
        self._offset_ns = time.perf_counter_ns() - time.monotonic_ns()
        self._writer = threading.Thread(target=self._write, name="ingot-traces", daemon=True)
        self._writer.start()

    def samples(self) -> bool:
        """Whether the request that asks is one of those to be traced."""
        return random.random() < self._rate

    def add(self, ticket: Ticket, model: str, version: str, outcome: Outcome, woken: float) -> None:
        """Takes in a request whose answer has just been written.

        Args:
            ticket: The request, with the times at which its stages began.
            model: The model's name.
            version: Its version.
            outcome: What came of it.
            woken: When the event loop had the outcome, by ``time.monotonic``.
        """
        written = time.monotonic()
        request = ticket.request.id or f"request-{next(self._requests)}"
        said: dict[str, str | int] = {"model": model, "version": version, "rows": ticket.rows}
        if isinstance(outcome, RefusedError):
            said["refused"] = outcome.cause.value
        ran = bool(ticket.started) and not isinstance(outcome, RefusedError)
        stages = (
            ("queue", ticket.arrived, ticket.started or woken),
            ("batch", ticket.started, ticket.ran_from),
            ("compute", ticket.ran_from, ticket.ran_until),
            ("hand over", ticket.ran_until, woken),
        )
        with self._lock:
            self._event("infer", ticket.arrived, written, request, said)
            for name, begin, end in stages if ran else stages[:1]:
                self._event(name, begin, end, request)
            self._event("write", woken, written, request)
            self._empty = False

    def close(self) -> None:
        """Writes what is left."""
        self._ending.set()
        self._writer.join()

    def _event(
        self,
        name: str,
        begin: float,
        end: float,
        request: str,
        said: dict[str, str | int] | None = None,
    ) -> None:
        times = (self._offset_ns + round(at * 1e9) for at in (begin, end))
        self._session.count()
        self._session.append((EVENT, this_thread.facts, _SOURCE, name, *times, request, said))

    def _write(self) -> None:
        ended = False
        while not ended:
            ended = self._ending.wait(_WRITE_EVERY)
            with self._lock:
                if self._empty:
                    continue
                session, self._session, self._empty = self._session, _session(), True
            try:
                self._save(session)
            except OSError as error:
                # Requests are answered whether or not there is room for their traces.
                _logger.warning("a trace is lost: %s", first_line(error))

    def _save(self, session: ProfilingSession) -> None:
        stamp = session.started.strftime("%Y%m%dT%H%M%S")
        file = self._folder / f"requests-{stamp}-{next(self._numbers)}.json.gz"
        session.save(file)
        self._written.append(file)
        while len(self._written) > _MOST_FILES:
            self._written.popleft().unlink(missing_ok=True)


def _session() -> ProfilingSession:
    # Never started: it has what is handed to it here, and nothing else in the process records.
    return ProfilingSession("requests", scoped=True, kernels=False, only=None, limit=_MOST_EVENTS)
