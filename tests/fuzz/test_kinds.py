"""Some mutants of each kind: each is right, or refused in one line. ``make fuzz`` judges more."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.fuzz.forkserver import REFUSED, run_mutants
from tests.fuzz.kinds import KINDS

# A model takes as long as a hundred recipes.
_SHORT = {"model": 12, "model-file": 24, "npu": 24}
_LONG = {"model": 150, "model-file": 150, "npu": 150}


@pytest.mark.parametrize(
    "long", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["short", "long"]
)
@pytest.mark.parametrize("name", KINDS)
def test_mutants_are_right_or_refused(name: str, long: bool, tmp_path: Path) -> None:
    if name == "npu" and importlib.util.find_spec("ethosu") is None:
        pytest.skip("the extra npu is not installed")
    kind = KINDS[name].make(tmp_path)
    # Not those of a run of `make fuzz`, which begins at 0.
    first = 10_000_000
    count = _LONG.get(name, 1000) if long else _SHORT.get(name, 100)
    outcomes = run_mutants(kind, range(first, first + count), tmp_path, workers=1)
    assert outcomes.findings == {}
    assert sum(outcomes.counts.values()) == count
    assert 0 < outcomes.counts[REFUSED] < count


def test_the_command_judges_mutants_and_counts_them(tmp_path: Path, monkeypatch, capsys) -> None:
    from tests.fuzz.__main__ import main

    monkeypatch.setattr(sys, "argv", ["fuzz", "--kinds", "grpc,recipe", "--mutants", "50"])
    assert main() == 0
    out = capsys.readouterr().out
    assert "grpc: 20 mutants" in out and "recipe: 30 mutants" in out
    assert "0 findings" in out
