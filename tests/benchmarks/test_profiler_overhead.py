"""What profiling costs is measured in turn, and stated with its interval."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import profiler_overhead
from benchmarks.profiler_overhead import OFF, Inference, Row, in_turn, main, tabulate


def test_modes_take_turns_forth_and_back() -> None:
    order: list[str] = []

    def mode(name: str) -> profiler_overhead.Mode:
        @contextlib.contextmanager
        def switch() -> Iterator[Inference]:
            order.append(name)
            yield lambda: None

        return switch

    taken = in_turn({name: mode(name) for name in ("off", "a", "b")}, 2, 4, 60.0)
    once = ["off", "a", "b"]
    assert order == [*once, *(once + once[::-1]) * 2]
    assert {name: [len(block) for block in blocks] for name, blocks in taken.items()} == {
        name: [8, 8] for name in once
    }


def test_a_slow_model_gets_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler_overhead, "_FEWEST_ROUNDS", 2)
    taken = in_turn({OFF: lambda: contextlib.nullcontext(lambda: None)}, 50, 1, 0.0)
    assert len(taken[OFF]) == 2


def test_the_cost_is_the_ratio_of_medians() -> None:
    off = [np.full(4, 2.0)] * 5
    row = profiler_overhead._row("net", 1, "Ingot", "requests", [2.02 * b / 2 for b in off], off, 1)
    assert (row.off_ms, row.on_ms, row.inferences) == (2.0, 2.02, 20)
    assert row.cost_percent == pytest.approx(1.0)
    assert row.cost_low == pytest.approx(row.cost_high)
    (*_, line) = tabulate([row]).splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[6:10] == ["1.00 %", "1.00 to 1.00 %", "1.00", "0.05 %"]


def test_both_engines_are_measured(small_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "rows.json"
    given = ["--models", str(small_model), "--rounds", "3", "--runs", "2", "--json", str(target)]
    assert main(given) == 0
    rows = [Row(**row) for row in json.loads(target.read_text())["rows"]]
    assert [(row.engine, row.mode) for row in rows] == [
        ("Ingot", "nothing"),
        ("Ingot", "inferences"),
        ("Ingot", "requests"),
        ("Ingot", "kernels"),
        ("ONNX Runtime", "enable_profiling"),
    ]
    assert all(row.cost_low <= row.cost_percent <= row.cost_high for row in rows)
    assert all(row.inferences == 12 and row.off_ms > 0 for row in rows)
    # What ONNX Runtime writes when its session ends is not left behind.
    assert not list(Path.cwd().glob("onnxruntime*.json"))
