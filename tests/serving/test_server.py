"""How a server starts, bears load and ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from tests.command_line import Ingot
from tests.serving.running import running

BODY: dict[str, Any] = {
    "inputs": [
        {
            "name": "image",
            "shape": [1, 3, 16, 16],
            "datatype": "FP32",
            "data": np.zeros(768).tolist(),
        }
    ]
}


def test_what_is_under_way_is_answered_when_it_ends(
    small_artifact: Artifact, tmp_path: Path
) -> None:
    log = tmp_path / "access.jsonl"
    statuses = []
    with running(
        f"small={small_artifact.path}", "--max-delay-ms", 500, "--access-log", log
    ) as server:
        asking = threading.Thread(
            target=lambda: statuses.append(server.ask("POST", "/v2/models/small/infer", BODY)[0])
        )
        asking.start()
        while not json.loads(server.ask("GET", "/v2/models/stats")[2]):
            pass
        asking.join(0.1)
        assert asking.is_alive()  # it waits for others
        assert server.end() == 0
        asking.join(10)
    assert statuses == [200]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    infer = next(line for line in lines if line["path"].endswith("infer"))
    assert (infer["status"], infer["protocol"]) == (200, "http")


def test_a_token_is_needed_for_all_but_health(small_artifact: Artifact) -> None:
    with running(f"small={small_artifact.path}", "--token", "secret") as server:
        assert server.ask("GET", "/v2/health/live")[0] == 200
        assert server.ask("POST", "/v2/models/small/infer", BODY)[0] == 401
        wrong = {"Authorization": "Bearer other"}
        assert server.ask("GET", "/v2", headers=wrong)[0] == 401
        right = {"Authorization": "Bearer secret"}
        assert server.ask("POST", "/v2/models/small/infer", BODY, right)[0] == 200


def test_versions_of_a_repository(small_artifact: Artifact, tmp_path: Path) -> None:
    for version in ("1", "2", "10"):
        (tmp_path / "net" / version).mkdir(parents=True)
        (tmp_path / "net" / version / "m.ingot").write_bytes(Path(small_artifact.path).read_bytes())
    with running("--repository", tmp_path) as server:
        answer = json.loads(server.ask("POST", "/v2/models/net/infer", BODY)[2])
        assert answer["model_version"] == "10"
        answer = json.loads(server.ask("POST", "/v2/models/net/versions/2/infer", BODY)[2])
        assert answer["model_version"] == "2"
        assert json.loads(server.ask("GET", "/v2/models/net")[2])["versions"] == ["10", "2", "1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "there is nothing to serve"),
        (("no.ingot",), "no.ingot"),
        (("a=x.ingot", "a=y.ingot"), "two artifacts are called 'a'"),
        (("a b.ingot",), "is no name for a model"),
        (("--repository", "nowhere"), "there is no folder nowhere"),
        (("x.ingot", "--max-batch-size", "0"), "max_batch_size"),
        (("x.ingot", "--key", "k.pem"), "both a certificate and a key"),
        (("x.ingot", "--host", "300.1.1.1"), "cannot listen at 300.1.1.1"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_served(
    ingot: Ingot, arguments: tuple[str, ...], said: str
) -> None:
    outcome = ingot("serve", *arguments)
    assert outcome.code != 0
    assert said in outcome.error


def test_a_file_has_the_same_keys_and_no_others(ingot: Ingot, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text("max_batch_sise = 4\n")
    outcome = ingot("serve", "x.ingot", "--config", file)
    assert outcome.code == 2
    assert "unknown option 'max_batch_sise'" in outcome.error
    file.write_text("[models.net]\nthreds = 4\n")
    assert "unknown option 'models.net.threds'" in ingot("serve", "x.ingot", "--config", file).error
