"""Whatever a model says: it comes in right or is refused in a line, within memory and time."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from ingot.compiler.build import compile_model
from ingot.compiler.ingest import ingest
from ingot.errors import IngotError
from ingot.onnx_graph.isolation import ForeignCrash, run_isolated
from tests.damaged_models import damaged_model

_MEMORY = 3 << 30
_SECONDS = 60.0
_SHORT = range(24)


def outcome(seed: int, output: Path | None = None) -> str:
    """What comes of a damaged model in a process of its own; it is compiled where ``output`` is."""

    def work() -> bytes:
        try:
            model = damaged_model(seed)
            if output is None:
                ingest(model)
            else:
                compile_model(model, output)
        except IngotError as error:
            return b"in lines" if "\n" in str(error).strip() else b"refused"
        except BaseException:
            return traceback.format_exc().encode(errors="replace")
        return b"taken"

    try:
        return run_isolated(work, memory_bytes=_MEMORY, seconds=_SECONDS).decode()
    except ForeignCrash as crash:
        return str(crash)


@pytest.fixture(autouse=True)
def short_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingot.reference.session.LONGEST_SECONDS", 0.5)


def test_a_damaged_model_comes_in_or_is_refused() -> None:
    outcomes = {seed: outcome(seed) for seed in _SHORT}
    assert {s: o for s, o in outcomes.items() if o not in ("taken", "refused")} == {}
    assert "taken" in outcomes.values() and "refused" in outcomes.values()


@pytest.mark.slow
@pytest.mark.parametrize("begin", range(1000, 3000, 200))
def test_any_damaged_model_comes_in_or_is_refused(begin: int) -> None:
    outcomes = {seed: outcome(seed) for seed in range(begin, begin + 200)}
    assert {s: o for s, o in outcomes.items() if o not in ("taken", "refused")} == {}


@pytest.mark.slow
@pytest.mark.parametrize("begin", range(5000, 5200, 20))
def test_any_damaged_model_compiles_or_is_refused(begin: int, tmp_path: Path) -> None:
    outcomes = {seed: outcome(seed, tmp_path / "made.ingot") for seed in range(begin, begin + 20)}
    assert {s: o for s, o in outcomes.items() if o not in ("taken", "refused")} == {}
