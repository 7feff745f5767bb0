"""What the benchmarks of latency share: shapes, means, the way through the models."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from benchmarks.latency import (
    TOKENS,
    geometric_means,
    input_shapes,
    latency_cells,
    latency_headings,
)
from ingot.report.rendering.formats import MISSING
from tests.benchmarks.rows import row
from tests.graphs import parse


def test_an_open_first_dimension_is_the_batch_and_others_are_tokens(tmp_path: Path) -> None:
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


def test_a_cell_stands_under_every_heading() -> None:
    headings = latency_headings(["A ms", "B ms"], "roofline")
    cells = dict(zip(headings, latency_cells(row(2.0, threads=2), ["3", "4"]), strict=True))
    assert cells["A ms"] == "3"
    assert (cells["model"], cells["threads"], cells["batch"]) == ("net", "2", "1")
    assert cells["best peer ÷ Ingot"] == "2.000"
    assert cells["95 % interval"] == "2.000 to 2.000"
    assert cells["of roofline"].startswith("50")


def test_what_has_no_peer_has_no_ratio() -> None:
    assert latency_cells(row(None), []).count(MISSING) == 2
