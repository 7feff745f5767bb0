"""The benchmark of bfloat16 prints its table and writes the rows that design reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.cpu_bf16 import main
from tests.benchmarks.test_cpu_fp32 import ROW_KEYS


def test_a_model_from_end_to_end(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rows.json"
    arguments = ["--models", str(small_model), "--threads", "1", "--runs", "4"]
    assert main([*arguments, "--against", "onnxruntime", "--json", str(output)]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert set(row) >= ROW_KEYS
    assert row["precision"] == "bf16"
    assert "best peer ÷ Ingot" in capsys.readouterr().out
