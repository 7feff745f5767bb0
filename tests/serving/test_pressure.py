"""More than a server can answer: each request gets a right answer or a refusal, none is lost."""

from __future__ import annotations

import asyncio
import collections
import signal
import time
from collections.abc import Iterator

import aiohttp
import numpy as np
import psutil
import pytest

from ingot.compiler.build import Artifact
from ingot.runtime.session import Session
from tests.serving.running import Running, running

CONNECTIONS = 48
QUEUE = 8
# Requests of other sizes join in batches; each has an answer of its own.
ROWS = (1, 2, 3)


@pytest.fixture
def small(small_artifact: Artifact) -> Iterator[Running]:
    options = ["--max-queue", QUEUE, "--max-batch-size", 4, "--threads", 1]
    with running(f"small={small_artifact.path}", *options) as server:
        yield server


class Questions:
    """Requests with the answers that they have to get."""

    def __init__(self, artifact: Artifact) -> None:
        images = np.random.default_rng(0).normal(size=(8, 3, 3, 16, 16)).astype(np.float32)
        self.bodies, self.expected = [], []
        with Session(artifact.path, threads=1) as session:
            for number, image in enumerate(images):
                rows = image[: ROWS[number % len(ROWS)]]
                tensor = {"name": "image", "datatype": "FP32", "shape": rows.shape}
                self.bodies.append({"inputs": [{**tensor, "data": rows.ravel().tolist()}]})
                self.expected.append(session.run(rows)["logits"].ravel())

    async def ask(self, client: aiohttp.ClientSession, url: str, number: int) -> str:
        """Asks once; says what came of it."""
        number %= len(self.bodies)
        async with client.post(f"{url}/v2/models/small/infer", json=self.bodies[number]) as answer:
            if answer.status == 503:
                return "refused" if "Retry-After" in answer.headers else "refused without a hint"
            if answer.status != 200:
                return f"status {answer.status}"
            data = (await answer.json())["outputs"][0]["data"]
            right = np.allclose(data, self.expected[number], rtol=1e-4, atol=1e-5)
            return "right" if right else "wrong"


async def overload(url: str, questions: Questions, seconds: float) -> collections.Counter[str]:
    """Asks over many connections, each anew as soon as it has its answer."""
    outcomes: collections.Counter[str] = collections.Counter()
    until = time.monotonic() + seconds

    async def keep_asking(client: aiohttp.ClientSession, first: int) -> None:
        number = first
        while time.monotonic() < until:
            outcomes[await questions.ask(client, url, number)] += 1
            number += 1

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        await asyncio.gather(*(keep_asking(client, each) for each in range(CONNECTIONS)))
    return outcomes


def require_all_answered(outcomes: collections.Counter[str]) -> None:
    assert set(outcomes) <= {"right", "refused"}, outcomes
    assert outcomes["right"] > 0
    assert outcomes["refused"] > 0, "it was not too much"


def test_each_request_is_answered_rightly_or_refused(
    small: Running, small_artifact: Artifact
) -> None:
    questions = Questions(small_artifact)
    require_all_answered(asyncio.run(overload(small.url, questions, 1.5)))
    status, _, _ = small.ask("GET", "/v2/health/ready")
    assert status == 200


@pytest.mark.slow
def test_a_minute_of_overload_leaves_memory_where_it_was(
    small: Running, small_artifact: Artifact
) -> None:
    questions, process = Questions(small_artifact), psutil.Process(small.process.pid)
    asyncio.run(overload(small.url, questions, 10))
    time.sleep(1)  # connections end
    before = process.memory_info().rss, process.num_threads(), process.num_fds()
    require_all_answered(asyncio.run(overload(small.url, questions, 60)))
    time.sleep(1)
    after = process.memory_info().rss, process.num_threads(), process.num_fds()
    assert after[0] < before[0] + (16 << 20)
    assert after[1] <= before[1]
    assert after[2] <= before[2]


def test_clients_that_leave_free_their_places(small: Running, small_artifact: Artifact) -> None:
    questions = Questions(small_artifact)

    async def leave() -> None:
        impatient = aiohttp.ClientTimeout(total=0.001)
        async with aiohttp.ClientSession(timeout=impatient) as client:
            gone = [questions.ask(client, small.url, number) for number in range(100)]
            await asyncio.gather(*gone, return_exceptions=True)
        async with aiohttp.ClientSession() as client:
            # As many as wait at most, and one that runs: all of them have room again.
            for _ in range(50):
                found = [questions.ask(client, small.url, number) for number in range(QUEUE)]
                outcomes = await asyncio.gather(*found)
                if set(outcomes) == {"right"}:
                    return
                await asyncio.sleep(0.1)
        raise AssertionError(outcomes)

    asyncio.run(leave())


def test_what_is_under_way_is_answered_at_the_end(small: Running, small_artifact: Artifact) -> None:
    questions = Questions(small_artifact)

    async def end() -> list[str]:
        async with aiohttp.ClientSession() as client:
            asked = [
                asyncio.create_task(questions.ask(client, small.url, number))
                for number in range(QUEUE)
            ]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            small.process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*asked)

    assert set(asyncio.run(end())) == {"right"}
    assert small.process.wait(30) == 0
