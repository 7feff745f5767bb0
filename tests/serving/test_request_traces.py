"""Traces of requests that a server has sampled."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from ingot import profiling
from ingot.client import Client
from ingot.compiler.build import Artifact
from tests.command_line import Ingot
from tests.serving.running import running

STAGES = ["infer", "queue", "batch", "compute", "hand over", "write"]


def test_ingot_trace_reads_what_requests_came_through(
    small_artifact: Artifact, image: np.ndarray, tmp_path: Path, ingot: Ingot
) -> None:
    folder = tmp_path / "traces"
    with running(
        f"small={small_artifact.path}", "--trace-rate", 1, "--trace-folder", folder
    ) as server:
        with Client(server.url) as client:
            for _ in range(3):
                client.infer("small", {"image": image})
        body = {
            "id": "mine",
            "inputs": [
                {"name": "image", "shape": [1], "datatype": "FP32", "data": [0.0]},
            ],
        }
        assert server.ask("POST", "/v2/models/small/infer", body)[0] == 400
        body["inputs"] = [
            {"name": "image", "shape": [1, 3, 16, 16], "datatype": "FP32", "data": [0.0] * 768}
        ]
        assert server.ask("POST", "/v2/models/small/infer", body)[0] == 200
        assert server.end() == 0
    files = sorted(folder.iterdir())
    assert files
    events = [event for file in files for event in profiling.read_trace(file).events]
    mine = [event for event in events if event.request == "mine"]
    assert [event.name for event in mine] == STAGES
    whole, *stages = mine
    assert dict(whole.args) == {"model": "small", "version": "1", "rows": 1}
    assert stages[0].start_ns == whole.start_ns
    for before, after in itertools.pairwise(stages):
        assert abs(after.start_ns - before.end_ns) <= 1  # none is left out, and none overlaps
    assert stages[-1].end_ns == whole.end_ns
    assert len({event.request for event in events}) == 4
    outcome = ingot("trace", files[-1], "--json", "--request", "mine")
    assert outcome.code == 0
    shown = json.dumps(json.loads(outcome.out))
    assert all(f'"{stage}"' in shown for stage in STAGES)


def test_no_rate_traces_nothing(
    small_artifact: Artifact, image: np.ndarray, tmp_path: Path
) -> None:
    with running(f"small={small_artifact.path}", "--trace-folder", tmp_path) as server:
        with Client(server.url) as client:
            client.infer("small", {"image": image})
        assert server.end() == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--trace-rate", "0.5"), "trace_folder"),
        (("--trace-rate", "2", "--trace-folder", "t"), "trace_rate"),
    ],
)
def test_wrong_use_is_refused(ingot: Ingot, arguments: tuple[str, ...], said: str) -> None:
    outcome = ingot("serve", "x.ingot", *arguments)
    assert outcome.code == 2
    assert said in outcome.error
