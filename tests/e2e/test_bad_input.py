"""Bad input gets one clear line and a non-zero exit code, and nothing is lost or half-written."""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser
from PIL import Image

from ingot.compiler.artifact_writer import write_artifact
from ingot.compiler.build import Artifact
from ingot.runtime.artifact import ArtifactReader
from tests.command_line import Ingot, Outcome
from tests.damage import flip_a_bit


def assert_one_line(outcome: Outcome, code: int, *parts: str) -> None:
    assert outcome.code == code
    errors = [line for line in outcome.err.splitlines() if line.startswith("ingot: error: ")]
    assert len(errors) == 1
    assert outcome.err.strip().splitlines()[-1] == errors[0]
    for part in parts:
        assert part in errors[0]


def save(path: Path, text: str) -> Path:
    onnx.save(parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]>\n{text}'), path)
    return path


def test_not_onnx(ingot: Ingot, tmp_path: Path) -> None:
    path = tmp_path / "photo.onnx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    assert_one_line(ingot("compile", path, "-o", tmp_path / "m.ingot"), 1, "photo.onnx")
    assert os.listdir(tmp_path) == ["photo.onnx"]


def test_a_truncated_model(ingot: Ingot, small_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(small_model.read_bytes()[:-1000])
    assert_one_line(ingot("compile", path, "-o", tmp_path / "m.ingot"), 1, "cut.onnx")
    assert os.listdir(tmp_path) == ["cut.onnx"]


def test_a_wrong_digest(ingot: Ingot, small_artifact: Artifact, tmp_path: Path) -> None:
    path = flip_a_bit(small_artifact.path, "lib.so", tmp_path / "damaged.ingot")
    assert_one_line(ingot("run", path), 1, "member lib.so does not have the digest", "damaged")


def test_an_operator_that_cannot_be_compiled_and_may_not_be_left(
    ingot: Ingot, tmp_path: Path
) -> None:
    path = save(
        tmp_path / "det.onnx",
        "g (float[2,8,8] x) => (float[2] y) { [determinant] d = Det(x) y = Neg(d) }",
    )
    outcome = ingot("compile", path, "-o", tmp_path / "m.ingot", "--no-fallback")
    assert_one_line(outcome, 1, "'determinant' (Det)", "fallback")
    assert not (tmp_path / "m.ingot").exists()


def test_an_opset_that_does_not_exist(ingot: Ingot, tmp_path: Path) -> None:
    path = save(tmp_path / "new.onnx", "g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model = onnx.load(path)
    model.opset_import[0].version = 99
    onnx.save(model, path)
    assert_one_line(ingot("compile", path, "-o", tmp_path / "m.ingot"), 1, "99")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("picture", np.zeros((1, 3, 16, 16), np.float32), "no input is called picture"),
        ("image", np.zeros((1, 3, 16, 16), np.float64), "was given dtype float64"),
        ("image", np.zeros((1, 3, 16, 15), np.float32), "was given shape [1, 3, 16, 15]"),
    ],
)
def test_a_wrong_input(
    ingot: Ingot, small_artifact: Artifact, tmp_path: Path,
    name: str, array: np.ndarray, message: str,
) -> None:  # fmt: skip
    np.save(tmp_path / "in.npy", array)
    out = tmp_path / "out"
    outcome = ingot("run", small_artifact.path, "-i", f"{name}={tmp_path / 'in.npy'}",
                    "--output-dir", out)  # fmt: skip
    assert_one_line(outcome, 1, message)
    assert not out.exists()


def test_an_empty_data_folder(ingot: Ingot, small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    outcome = ingot("report", small_model, "--data", tmp_path / "data", "-o", tmp_path / "out")
    assert_one_line(outcome, 1, str(tmp_path / "data"))
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_mislabelled_data_folder(ingot: Ingot, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cats"
    folder.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "one.png")
    outcome = ingot("report", "cifar_resnet", "--data", tmp_path / "data", "-o", tmp_path / "out")
    assert_one_line(outcome, 1, "cats")
    assert not (tmp_path / "out" / "report.html").exists()


def test_no_space_left(
    ingot: Ingot, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "m.ingot"
    path.write_bytes(b"an older artifact")
    monkeypatch.setattr(os, "fsync", full)
    assert_one_line(ingot("compile", small_model, "-o", path), 1, "No space left on device")
    assert path.read_bytes() == b"an older artifact"
    assert os.listdir(tmp_path) == ["m.ingot"]


def test_ctrl_c_leaves_nothing_half_written(small_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.ingot"
    path.write_bytes(b"an older artifact")
    # The process says when it begins to write, and is then interrupted as by Ctrl-C.
    program = """
import os, sys, time
from ingot.cli.main import main
real = os.fsync
def slow(descriptor):
    print("writing", flush=True)
    time.sleep(60)
    real(descriptor)
os.fsync = slow
sys.exit(main(sys.argv[1:]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, "compile", str(small_model), "-o", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1].startswith("ingot: error: interrupted")
    assert "Traceback" not in errors
    assert path.read_bytes() == b"an older artifact"
    assert os.listdir(tmp_path) == ["m.ingot"]


def test_an_artifact_for_another_cpu(
    ingot: Ingot, small_artifact: Artifact, tmp_path: Path
) -> None:
    reader = ArtifactReader(small_artifact.path)
    target = dataclasses.replace(reader.manifest.target, features=("amx_complex9",))
    members = {name: bytes(reader.member(name)) for name in reader.manifest.members}
    path = tmp_path / "other.ingot"
    write_artifact(path, dataclasses.replace(reader.manifest, target=target), members)
    for command in ("run", "verify"):
        assert_one_line(ingot(command, path), 1, "this CPU lacks amx_complex9")


def test_an_unknown_recipe_key(ingot: Ingot, small_model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('pases = ["cleanup"]\n')
    outcome = ingot("compile", small_model, "--recipe", recipe, "-o", tmp_path / "m.ingot")
    assert_one_line(outcome, 2, "has no key 'pases'", "did you mean 'passes'?")


def test_an_unknown_pass_and_an_unknown_option_of_a_pass(
    ingot: Ingot, small_model: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    for text, message in [
        ("passes: [fusion.gelo]", "did you mean 'fusion.gelu'?"),
        ("passes: [{name: fusion.gelu, options: {zzz: 1}}]", "has no option 'zzz'"),
    ]:
        recipe.write_text(text)
        outcome = ingot("compile", small_model, "--recipe", recipe, "-o", tmp_path / "m.ingot")
        assert_one_line(outcome, 2, message)
