"""``ingot compile``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ingot.runtime.session import Session
from tests.command_line import Ingot


def test_what_was_made_is_said(ingot: Ingot, small_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "small.ingot"
    outcome = ingot("compile", small_model, "-o", output, "--shape", "image=1x3x16x16")
    assert outcome.code == 0
    assert "fusion.conv-batch-norm" in outcome.out
    assert f"{output}: " in outcome.out
    assert "agrees with ONNX Runtime" in outcome.out
    assert "generating code" in outcome.err
    assert Session(output).inputs[0].shape == (1, 3, 16, 16)


def test_json_is_all_that_a_script_reads(
    ingot: Ingot, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = ingot("compile", small_model, "--recipe", "none", "--json")
    made = json.loads(outcome.out)
    assert made["artifact"] == "small.ingot"
    assert made["bytes"] == (tmp_path / "small.ingot").stat().st_size
    assert made["verification"]["ran"]


def test_a_recipe_file_and_a_target(ingot: Ingot, small_model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('passes = ["fusion.conv-batch-norm"]\n')
    output = tmp_path / "small.ingot"
    outcome = ingot(
        "compile", small_model, "-o", output, "--recipe", recipe, "--target", "cpu:mcpu=x86-64-v2"
    )
    assert outcome.code == 0
    manifest = Session(output).manifest
    assert manifest.recipe["name"] == "mine"
    assert manifest.target.spec.startswith("cpu:mcpu=x86-64-v2,l1d=32K,")
    assert [record["name"] for record in manifest.passes] == ["fusion.conv-batch-norm"]


@pytest.mark.parametrize("option", ["image", "image=", "=1x2", "image=1xtwo", "1x2x3"])
def test_a_malformed_shape_is_shown_how_to_write(
    ingot: Ingot, small_model: Path, option: str
) -> None:
    outcome = ingot("compile", small_model, "--shape", option)
    assert outcome.code == 2
    assert "is not NAME=SIZES, such as image=1x3x224x224" in outcome.error


def test_the_artifact_runs_from_the_command_line(
    ingot: Ingot, small_artifact, image: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "in.npy", image)
    out = tmp_path / "out"
    outcome = ingot(
        "run", small_artifact.path, "--input", f"image={tmp_path / 'in.npy'}",
        "--output-dir", out, "--threads", 1,
    )  # fmt: skip
    assert (outcome.code, outcome.out) == (0, "logits: float32[2, 10]\n")
    expected = small_artifact.session(threads=1).run(image)["logits"]
    np.testing.assert_array_equal(np.load(out / "logits.npy"), expected)


def test_inputs_may_come_in_one_npz(
    ingot: Ingot, small_artifact, image: np.ndarray, tmp_path: Path
) -> None:
    np.savez(tmp_path / "in.npz", image=image)
    assert ingot("run", small_artifact.path, "-i", tmp_path / "in.npz").code == 0


@pytest.mark.parametrize(
    ("option", "code", "message"),
    [
        ("image", 2, "is not NAME=FILE.npy, nor a file .npz"),
        ("image=none.npy", 1, "none.npy cannot be read"),
        ("picture={image}", 1, "no input is called picture"),
        ("image={text}", 1, "cannot be read"),
    ],
)
def test_wrong_input_files(
    ingot: Ingot, small_artifact, image: np.ndarray, tmp_path: Path,
    option: str, code: int, message: str,
) -> None:  # fmt: skip
    np.save(tmp_path / "in.npy", image)
    (tmp_path / "text.npy").write_text("not an array")
    option = option.format(image=tmp_path / "in.npy", text=tmp_path / "text.npy")
    outcome = ingot("run", small_artifact.path, "--input", option)
    assert outcome.code == code
    assert message in outcome.error


def test_quantizing_says_what_noise_it_makes(
    ingot: Ingot, small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))
    data = tmp_path / "images.npy"
    np.save(data, np.random.default_rng(0).normal(size=(5, 3, 16, 16)).astype(np.float32))
    output = tmp_path / "int8.ingot"
    outcome = ingot(
        "compile", small_model, "-o", output, "--quantize", "int8", "--calibration", data
    )
    assert outcome.code == 0, outcome.error
    assert "quantization.qdq" in outcome.out
    assert "agrees with ONNX Runtime on the quantized graph" in outcome.out
    assert "quantization noise of logits: " in outcome.out
    assert "note: calibrated on 5 samples only" in outcome.out
    assert "observing activations" in outcome.err
    again = ingot("compile", small_model, "-o", output, "--quantize", "int8", "--calibration", data)
    assert "observing activations" not in again.err, "statistics are kept for the next time"
    assert Session(output).manifest.precision["default"] == "int8"


def test_quantizing_without_data_is_a_wrong_call(ingot: Ingot, small_model: Path) -> None:
    outcome = ingot("compile", small_model, "--quantize", "int8")
    assert outcome.code == 2
    assert "needs calibration data: give it with --calibration PATH" in outcome.error


def test_pruning_is_asked_for_by_its_ratio(ingot: Ingot, tmp_path: Path) -> None:
    path = tmp_path / "pruned.ingot"
    outcome = ingot("compile", "cifar_resnet", "--prune", "0.1", "-o", path, "--json")
    assert outcome.code == 0, outcome.err
    last = json.loads(outcome.out)["passes"][-1]
    assert last["name"] == "pruning.channels"
    assert last["initializer_bytes_after"] < 0.91 * last["initializer_bytes_before"]
