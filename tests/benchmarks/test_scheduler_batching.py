"""The benchmark of servers, end to end with our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import scheduler_batching


def test_both_ways_of_our_server(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.json"
    code = scheduler_batching.main(
        [
            "--models", str(small_model), "--servers", "ingot,ingot-one-by-one",
            "--seconds", "0.2", "--concurrency", "2", "--p99-ms", "200", "--json", str(file),
        ]
    )  # fmt: skip
    assert code == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["server"] for row in rows] == ["ingot", "ingot-one-by-one"]
    assert all(row["rate"] > 0 and row["lost"] == row["wrong"] == 0 for row in rows)
    assert "alone, in a loop" in capsys.readouterr().out
