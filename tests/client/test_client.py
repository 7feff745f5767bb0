"""The client and its asynchronous twin against a running server."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingot.client import AsyncClient, Client, ServerError
from ingot.client.retries import Retries
from ingot.compiler.build import Artifact
from ingot.errors import UsageError
from ingot.runtime.session import Session
from tests.serving.running import Running, running


@pytest.fixture(scope="module")
def server(small_artifact: Artifact) -> Iterator[Running]:
    with running(f"small={small_artifact.path}") as started:
        yield started


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.url) as made:
        yield made


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(small_artifact: Artifact, images: np.ndarray) -> np.ndarray:
    with Session(small_artifact.path, threads=1) as session:
        return session.run(images)["logits"]


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate", "zstd"])
def test_inference(
    server: Running, images: np.ndarray, expected: np.ndarray, encoding: str | None
) -> None:
    with Client(server.url, encoding=encoding) as client:
        outputs = client.infer("small", {"image": images}, version="1", outputs=["logits"])
    np.testing.assert_allclose(outputs["logits"], expected, rtol=1e-5, atol=1e-6)


def test_what_a_model_is(client: Client) -> None:
    assert client.is_ready()
    assert client.is_ready("small")
    assert not client.is_ready("other")
    info = client.model("small")
    assert str(info.inputs[0]) == "image: float32[N, 3, 16, 16]"
    assert info.versions == ("1",)


def test_a_list_has_an_outcome_for_each(
    client: Client, images: np.ndarray, expected: np.ndarray
) -> None:
    wrong = {"image": np.zeros((1, 3, 4, 4), np.float32)}
    answers = client.infer_list("small", [{"image": images[:2]}, wrong, {"image": images[2:5]}])
    assert isinstance(answers[1], ServerError)
    assert "image" in str(answers[1])
    for answer, rows in ((answers[0], slice(0, 2)), (answers[2], slice(2, 5))):
        assert isinstance(answer, dict)
        np.testing.assert_allclose(answer["logits"], expected[rows], rtol=1e-5, atol=1e-6)


def test_small_requests_are_joined_before_they_are_sent(
    server: Running, client: Client, images: np.ndarray, expected: np.ndarray
) -> None:
    before = _requests(server)
    with client.batcher("small", max_delay=0.05) as batcher, ThreadPoolExecutor(16) as pool:
        rows = list(pool.map(lambda i: batcher.infer({"image": images[i : i + 1]}), range(8)))
    for i, outputs in enumerate(rows):
        np.testing.assert_allclose(outputs["logits"][0], expected[i], rtol=1e-5, atol=1e-6)
    assert _requests(server) - before <= 3


def _requests(server: Running) -> int:
    (statistics,) = json.loads(server.ask("GET", "/v2/models/stats")[2])["model_stats"]
    count: int = statistics["inference_stats"]["success"]["count"]
    return count


def test_the_asynchronous_twin(server: Running, images: np.ndarray, expected: np.ndarray) -> None:
    async def ask() -> tuple[list[Any], list[Any]]:
        async with AsyncClient(server.url, encoding="zstd") as client:
            assert await client.is_ready("small")
            assert (await client.model("small")).name == "small"
            each = await asyncio.gather(
                *(client.infer("small", {"image": image[None]}) for image in images)
            )
            listed = await client.infer_list("small", [{"image": images[:1]}, {"x": images}])
            with pytest.raises(ServerError, match="there is no model 'other'"):
                await client.infer("other", {"image": images})
            return each, listed

    each, listed = asyncio.run(ask())
    for i, outputs in enumerate(each):
        np.testing.assert_allclose(outputs["logits"][0], expected[i], rtol=1e-5, atol=1e-6)
    assert isinstance(listed[1], ServerError)


def test_errors_say_what_the_server_says(client: Client, images: np.ndarray) -> None:
    with pytest.raises(ServerError, match="no input is called picture") as raised:
        client.infer("small", {"picture": images})
    assert raised.value.status == 400
    with pytest.raises(UsageError, match="complex64"):
        client.infer("small", {"image": images.astype(np.complex64)})
    with pytest.raises(UsageError, match="is no URL"):
        Client("127.0.0.1:8000")


def test_a_server_that_is_not_there_is_tried_again_and_then_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with (
        Client(url, retries=Retries(2, first=0.001)) as client,
        pytest.raises(ServerError, match="does not answer"),
    ):
        client.infer("small", {})


def test_what_finds_no_room_comes_back_until_there_is(
    small_artifact: Artifact, images: np.ndarray
) -> None:
    arguments = (f"small={small_artifact.path}", "--max-queue", 1, "--max-batch-size", 1)
    with running(*arguments) as server, Client(server.url, retries=50, connections=16) as client:
        done = []

        def ask() -> None:
            for _ in range(10):
                done.append(client.infer("small", {"image": images}))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(done) == 120


@pytest.mark.parametrize(
    ("tried", "status", "after", "left", "gives_up"),
    [
        (0, 503, None, 10.0, False),
        (0, 0, None, 10.0, False),
        (0, 400, None, 10.0, True),
        (0, 504, None, 10.0, True),
        (4, 503, None, 10.0, True),
        (0, 503, 5.0, 1.0, True),
    ],
)
def test_when_a_request_is_tried_again(
    tried: int, status: int, after: float | None, left: float, gives_up: bool
) -> None:
    wait = Retries(most=4).wait(tried, ServerError("", status, after), left)
    assert (wait is None) == gives_up
    assert wait is None or 0 <= wait < left


def test_nothing_of_a_server_is_needed_to_ask_one() -> None:
    loaded = "any(name in sys.modules for name in ('uvicorn', 'grpc', 'tvm', 'onnx'))"
    program = f"import sys, ingot.client; print({loaded})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == "False"
