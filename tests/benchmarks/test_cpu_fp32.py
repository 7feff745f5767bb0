"""The fp32 benchmark prints its table and writes the rows that design and README read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cpu_fp32 import TOKENS, geometric_means, input_shapes, main
from ingot.report.bench import BenchRow
from ingot.report.schema import Latency
from tests.graphs import parse

ROW_KEYS = {
    "model", "precision", "threads", "batch", "ingot_ms", "peers", "ratio", "ratio_low",
    "ratio_high", "percent_of_roofline", "compile_s", "artifact_mb", "peak_rss_mb",
    "peer_peak_rss_mb",
}  # fmt: skip
LATENCY = Latency(
    median={"value": 1, "low": 1, "high": 1},
    p95=None,
    p99=None,
    runs=2,
    rounds=((1.0,), (1.0,)),
    warm_up_runs=10,
    stable=True,
)


def row(ratio: float | None, *, threads: int = 1, batch: int = 1) -> BenchRow:
    return BenchRow(
        model="net",
        precision="fp32",
        threads=threads,
        batch=batch,
        ingot_ms=1.0,
        peers={},
        ratio=ratio,
        ratio_low=ratio,
        ratio_high=ratio,
        percent_of_roofline=50.0,
        peak_gops=100.0,
        compile_s=1.0,
        artifact_mb=1.0,
        peak_rss_mb=1.0,
        peer_peak_rss_mb=None,
        peers_peak_rss_mb={},
        latency={"ingot": LATENCY},
    )


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


def test_an_open_first_dimension_is_the_batch_and_others_are_tokens(tmp_path: Path) -> None:
    import onnx_ir as ir

    model = parse(
        '<ir_version: 10, opset_import: ["" : 21]> '
        "g (float[N, L, 3] x, float[2, L] y) => (float[N, L, 3] z) { z = Relu(x) }"
    )
    ir.save(model, tmp_path / "m.onnx")
    assert input_shapes(tmp_path / "m.onnx", 8) == {"x": (8, TOKENS, 3), "y": (2, TOKENS)}


def test_the_geometric_mean_is_by_threads_and_batch() -> None:
    rows = [row(2.0), row(0.5), row(3.0, threads=2), row(None), row(4.0, batch=8)]
    means = geometric_means(rows)
    assert list(means) == [(1, 1), (1, 8), (2, 1)]
    assert means[1, 1] == (2, pytest.approx(1.0))
    assert means[2, 1] == (1, pytest.approx(3.0))
