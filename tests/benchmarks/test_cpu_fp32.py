"""The fp32 benchmark prints its table and writes the rows that design and README read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cpu_fp32 import main

ROW_KEYS = {
    "model", "precision", "threads", "batch", "ingot_ms", "peers", "ratio", "ratio_low",
    "ratio_high", "percent_of_roofline", "compile_s", "artifact_mb", "peak_rss_mb",
    "peer_peak_rss_mb",
}  # fmt: skip


def test_a_model_from_end_to_end(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.json"
    arguments = ["--models", str(small_model), "--threads", "1", "--batch", "1,3", "--runs", "4"]
    assert main([*arguments, "--against", "onnxruntime", "--json", str(output)]) == 0
    document = json.loads(output.read_text())
    assert document["machine"]["cpu"]
    assert [(r["model"], r["threads"], r["batch"]) for r in document["rows"]] == [
        ("small", 1, 1),
        ("small", 1, 3),
    ]
    for found in document["rows"]:
        assert set(found) >= ROW_KEYS
        assert set(found["peers"]) == set(found["peers_peak_rss_mb"]) == {"onnxruntime"}
    printed = capsys.readouterr().out.splitlines()
    table = [line for line in printed if line.startswith("|")]
    assert len(table) == 4
    assert len({len(line) for line in table}) == 1
    assert "ONNX Runtime ms" in table[0]
    assert printed[-1].startswith("Geometric mean of best peer ÷ Ingot, 1 thread, batch 3, 1 model")


def test_what_was_measured_before_an_error_is_kept(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.json"
    models = f"{small_model},{tmp_path / 'missing.onnx'}"
    arguments = ["--models", models, "--threads", "1", "--runs", "4", "--json", str(output)]
    assert main([*arguments, "--against", "onnxruntime"]) == 1
    assert len(json.loads(output.read_text())["rows"]) == 1
    captured = capsys.readouterr()
    assert "| small" in captured.out
    assert captured.err.strip().splitlines()[-1].startswith("error: there is no file")
