"""Models in processes of their own: one that ends takes nothing else along."""

from __future__ import annotations

import collections
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ingot.client import Client
from ingot.client.messages import ServerError
from ingot.compiler.build import Artifact
from ingot.errors import ArtifactError, InputError
from ingot.runtime.session import Session
from ingot.serving.models.model_process import ModelProcesses
from ingot.serving.requests import Cause, RefusedError
from tests.serving.running import Running, running

SOON = 30.0
MODULE = "ingot.serving.models.worker"


def workers(server: int) -> list[int]:
    """The processes of a server's models, the first that was started first."""
    children = psutil.Process(server).children()
    found = [each for each in children if MODULE in each.cmdline()]
    return [each.pid for each in sorted(found, key=lambda each: each.create_time())]


def until(reached: object, what: str) -> None:
    end = time.monotonic() + SOON
    while not reached():  # type: ignore[operator]
        assert time.monotonic() < end, f"{what} did not come in {SOON} s"
        time.sleep(0.01)


def status(server: Running, path: str) -> int:
    return server.ask("GET", path)[0]


def restarts(server: Running, model: str) -> float:
    page = server.ask("GET", "/metrics")[2].decode()
    start = f'ingot_serve_restarts_total{{model="{model}",version="1"}} '
    return float(next(line for line in page.splitlines() if line.startswith(start))[len(start) :])


@pytest.fixture
def processes(small_artifact: Artifact) -> object:
    made = ModelProcesses(Path(small_artifact.path), 1, threads=1)
    yield made
    made.close()


def test_a_process_gives_what_a_session_gives(
    small_artifact: Artifact, processes: ModelProcesses, image: np.ndarray
) -> None:
    with Session(small_artifact.path, threads=1) as session:
        expected = session.run({"image": image})
        assert (processes.inputs, processes.outputs) == (session.inputs, session.outputs)
        outputs = processes.run({"image": image})
    assert list(outputs) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)


def test_an_error_comes_as_it_is_and_ends_nothing(
    processes: ModelProcesses, image: np.ndarray
) -> None:
    with pytest.raises(InputError, match="image"):
        processes.run({"image": image[:, :1]})
    assert processes.run({"image": image})
    assert processes.restarts == 0


def test_an_artifact_that_cannot_be_loaded_says_why(
    small_artifact: Artifact, tmp_path: Path
) -> None:
    damaged = bytearray(Path(small_artifact.path).read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    file = tmp_path / "damaged.ingot"
    file.write_bytes(damaged)
    with pytest.raises(ArtifactError, match="damaged"):
        ModelProcesses(file, 1)
    assert not workers(os.getpid())


def test_a_process_that_ends_is_started_anew(processes: ModelProcesses, image: np.ndarray) -> None:
    (first,) = workers(os.getpid())
    os.kill(first, signal.SIGKILL)
    until(lambda: processes.trouble, "its end")
    with pytest.raises(RefusedError, match="signal 9") as refused:
        processes.run({"image": image})
    assert refused.value.cause is Cause.UNAVAILABLE
    assert refused.value.retry_after is not None
    until(lambda: not processes.trouble, "a new process")
    assert processes.run({"image": image})
    assert processes.restarts == 1
    assert workers(os.getpid()) != [first]


def test_another_file_under_the_name_is_not_taken_for_the_model(
    small_artifact: Artifact, tmp_path: Path
) -> None:
    file = tmp_path / "model.ingot"
    file.write_bytes(Path(small_artifact.path).read_bytes())
    processes = ModelProcesses(file, 1, threads=1)
    try:
        file.unlink()
        os.kill(workers(os.getpid())[-1], signal.SIGKILL)
        until(lambda: "cannot be started anew" in processes.trouble, "why it is not there")
        file.write_bytes(Path(small_artifact.path).read_bytes())
        until(lambda: not processes.trouble, "a new process")
    finally:
        processes.close()


def test_kill_9_under_load(small_artifact: Artifact, image: np.ndarray) -> None:
    path = small_artifact.path
    with (
        Session(path) as session,
        running(f"a={path}", f"b={path}", "--isolation", "process", "--threads", 1) as server,
    ):
        expected = session.run({"image": image})["logits"]
        outcomes: dict[str, collections.Counter[str]] = {
            name: collections.Counter() for name in "ab"
        }
        stop = threading.Event()

        def ask(name: str) -> None:
            with Client(server.url, retries=0) as client:
                while not stop.is_set():
                    try:
                        outputs = client.infer(name, {"image": image})
                    except ServerError as error:
                        outcomes[name][f"{error.status}, again: {error.retry_after}"] += 1
                        time.sleep(0.01)
                        continue
                    right = np.allclose(outputs["logits"], expected, rtol=1e-5, atol=1e-6)
                    outcomes[name]["right" if right else "wrong"] += 1

        threads = [threading.Thread(target=ask, args=(name,)) for name in "aabb"]
        for thread in threads:
            thread.start()
        try:
            until(lambda: all(outcomes[name]["right"] > 5 for name in "ab"), "answers")
            killed = workers(server.process.pid)[0]
            before = outcomes["b"]["right"]
            os.kill(killed, signal.SIGKILL)
            until(lambda: status(server, "/v2/models/a/ready") == 503, "that it says so")
            until(lambda: outcomes["b"]["right"] > before + 5, "answers of the other")
            until(lambda: status(server, "/v2/models/a/ready") == 200, "its return")
            after = outcomes["a"]["right"]
            until(lambda: outcomes["a"]["right"] > after + 5, "its answers")
        finally:
            stop.set()
            for thread in threads:
                thread.join(SOON)
        assert set(outcomes["b"]) == {"right"}
        refused = set(outcomes["a"]) - {"right"}
        assert refused == {"503, again: 0.1"}
        assert (restarts(server, "a"), restarts(server, "b")) == (1, 0)
        assert status(server, "/v2/health/ready") == 200
        index = json.loads(server.ask("POST", "/v2/repository/index")[2])
        assert [entry["state"] for entry in index] == ["READY", "READY"]
        left = workers(server.process.pid)
        assert server.end() == 0
        until(lambda: not any(psutil.pid_exists(each) for each in left), "the processes' end")


def test_processes_end_with_a_server_that_is_killed(small_artifact: Artifact) -> None:
    with running(f"a={small_artifact.path}", "--isolation", "process") as server:
        left = workers(server.process.pid)
        assert left
        server.process.kill()
        server.process.wait(SOON)
        until(lambda: not any(psutil.pid_exists(each) for each in left), "their end")
