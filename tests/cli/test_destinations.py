"""What a command writes never replaces what it reads, and a bad place is found before the work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ingot.compiler import build
from tests.command_line import Ingot


@pytest.fixture
def model(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of its own in the current folder; nothing is compiled or read."""

    def no_work(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(build, "ingest", no_work)
    monkeypatch.setattr("ingot.cli.bisect.ingest", no_work)
    monkeypatch.setattr("ingot.report.compare.ingest", no_work)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.onnx"
    shutil.copy(small_model, path)
    (tmp_path / "hard.onnx").hardlink_to(path)
    (tmp_path / "soft.onnx").symlink_to(path)
    (tmp_path / "recipe.toml").write_text("simplify = false\n")
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "0.npy", np.zeros((1, 3, 16, 16), np.float32))
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "00-input.onnx").symlink_to(path)
    shutil.copy(path, tmp_path / "graphs" / "03-cleanup.onnx")
    (tmp_path / "r").mkdir()
    shutil.copy(path, tmp_path / "r" / "report.json")
    return path


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("compile m.onnx -o m.onnx", "m.onnx is m.onnx, which is read"),
        ("compile m.onnx -o ./data/../m.onnx", "which is read"),
        ("compile m.onnx -o hard.onnx", "which is read"),
        ("compile m.onnx -o soft.onnx", "which is read"),
        ("compile m.onnx --recipe recipe.toml -o recipe.toml", "which is read"),
        ("compile m.onnx --calibration data -o data/0.npy", "is a file in data, which is read"),
        ("compile m.onnx --verify-data data/0.npy -o data/0.npy", "which is read"),
        ("compile m.onnx --dump-passes graphs", "which is read"),
        ("compile graphs/03-cleanup.onnx --dump-passes graphs", "might replace 03-cleanup.onnx"),
        ("compile m.onnx -o /dev/null", "no regular file"),
        ("compile m.onnx -o /dev/null/x", "does not exist|Not a directory"),
        ("compile m.onnx -o data", "is a folder"),
        (f"compile m.onnx -o {'x' * 300}.ingot", "name too long"),
        ("bisect m.onnx --dump-passes graphs", "which is read"),
        ("bisect m.onnx --dump-passes /dev/null", "output folder"),
        ("report m.onnx --recipe r/report.json -o r", "report.json, which is read"),
        ("report m.onnx -o m.onnx", "output folder"),
        ("models export resnet8 --checkpoint m.onnx -o soft.onnx", "which is read"),
        ("models export mobilenetv2 -o /dev/full/x.onnx", "output folder"),
    ],
)
def test_a_place_is_refused_before_the_work(
    ingot: Ingot, model: Path, command: str, reason: str
) -> None:
    before = {path: path.read_bytes() for path in model.parent.rglob("*") if path.is_file()}
    outcome = ingot(*command.split())
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("\n") == 1
    assert any(part in outcome.error for part in reason.split("|"))
    assert {path: path.read_bytes() for path in model.parent.rglob("*") if path.is_file()} == before


def test_external_data_is_not_replaced(ingot: Ingot, tmp_path: Path) -> None:
    from tests.compiler.test_ingest import external_weights

    path = external_weights(tmp_path)
    before = (tmp_path / "weights.bin").read_bytes()
    outcome = ingot("compile", path, "-o", tmp_path / "weights.bin")
    assert outcome.code == 2
    assert "weights.bin, which is read" in outcome.error
    assert (tmp_path / "weights.bin").read_bytes() == before


def test_outputs_of_a_run_do_not_replace_its_inputs(
    ingot: Ingot, small_artifact, image: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "logits.npy", image)
    before = (tmp_path / "logits.npy").read_bytes()
    given = f"image={tmp_path / 'logits.npy'}"
    outcome = ingot("run", small_artifact.path, "--input", given, "--output-dir", tmp_path)
    assert outcome.code == 2
    assert "logits.npy, which is read" in outcome.error
    assert (tmp_path / "logits.npy").read_bytes() == before
