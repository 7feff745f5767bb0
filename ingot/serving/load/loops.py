"""Loads: in a closed loop, and in an open one with Poisson arrivals."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import numpy as np

from ingot.serving.load.connection import Check, Connection, connect
from ingot.serving.load.outcomes import Collector, LoadOutcome

_Result = TypeVar("_Result")
# Seconds that a load waits for its last answers.
_LAST = 10.0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where requests go, and what they are.

    Attributes:
        host: The server's host.
        port: Its port.
        request: The bytes of a request.
        check: Says whether a result's body is right; None where it is not looked at.
    """

    host: str
    port: int
    request: bytes
    check: Check | None = None


def closed_loop(place: Place, connections: int, seconds: float) -> LoadOutcome:
    """As many clients as there are connections, each of which asks again when it has its answer."""
    return _run(_closed(place, connections, seconds))


def open_loop(
    place: Place, rate: float, seconds: float, *, connections: int = 256, seed: int = 0
) -> LoadOutcome:
    """Requests that come at random times, whether or not earlier ones were answered.

    Latencies count from when a request was due: one that had to wait for a connection waited.

    Args:
        place: Where they go.
        rate: Requests per second, in the mean.
        seconds: How long they come.
        connections: Most connections.
        seed: Of the times.
    """
    return _run(_open(place, rate, seconds, connections, seed))


def _run(load: Coroutine[Any, Any, _Result]) -> _Result:
    import uvloop

    return uvloop.run(load)


async def _closed(place: Place, connections: int, seconds: float) -> LoadOutcome:
    collector = Collector()
    begin = time.perf_counter()
    until = begin + seconds

    async def client() -> None:
        connection = await connect(place.host, place.port)
        while (now := time.perf_counter()) < until:
            if not connection.is_open:
                connection = await connect(place.host, place.port)
            await _ask(connection, place, collector, now)
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return collector.outcome(time.perf_counter() - begin)


async def _ask(connection: Connection, place: Place, collector: Collector, due: float) -> None:
    collector.sent += 1
    try:
        status, body = await connection.ask(place.request)
    except OSError:
        collector.lost += 1
        return
    collector.answered(status, time.perf_counter() - due)
    if place.check is not None and status == 200 and not place.check(body):
        collector.wrong += 1


async def _open(
    place: Place, rate: float, seconds: float, connections: int, seed: int
) -> LoadOutcome:
    generator = np.random.default_rng(seed)
    gaps = generator.exponential(1.0 / rate, max(1, int(rate * seconds * 1.5) + 16))
    times = np.cumsum(gaps)
    arrivals = times[times < seconds].tolist()
    collector = Collector()
    idle: collections.deque[Connection] = collections.deque()
    opened = asyncio.Semaphore(connections)
    tasks: set[asyncio.Task[None]] = set()
    begin = time.perf_counter()

    async def request(due: float) -> None:
        async with opened:
            connection = idle.pop() if idle else None
            try:
                if connection is None or not connection.is_open:
                    connection = await connect(place.host, place.port)
            except OSError:
                collector.sent += 1
                collector.lost += 1
                return
            await _ask(connection, place, collector, due)
            if connection.is_open:
                idle.append(connection)

    for arrival in arrivals:
        due = begin + arrival
        wait = due - time.perf_counter()
        # What is late already is sent at once, but answers are read in between.
        await asyncio.sleep(max(0.0, wait))
        task = asyncio.create_task(request(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=_LAST)
        for task in late:
            task.cancel()
        collector.lost += len(late)
    for connection in idle:
        connection.close()
    return collector.outcome(max(seconds, time.perf_counter() - begin), seconds)
