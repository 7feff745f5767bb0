"""The INT8 accuracy benchmark prints its table and writes the rows that design and README read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from benchmarks import int8_accuracy, peer_quantizers
from benchmarks.int8_accuracy import main
from ingot.data.preprocessing import METADATA_KEY, ImagePreprocessing
from tests.conftest import small_network

ROW_KEYS = {
    "model", "quantizer", "metric", "fp32", "value", "delta", "delta_low", "delta_high", "n",
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A classifier of ten classes that carries its preprocessing."""
    proto = small_network()
    preprocessing = ImagePreprocessing(height=16, width=16, mean=(0.5,) * 3, std=(0.2,) * 3)
    onnx.helper.set_model_props(proto, {METADATA_KEY: preprocessing.model_dump_json()})
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Random images, to calibrate with and in class folders."""
    generator = np.random.default_rng(0)
    for index in range(24):
        pixels = Image.fromarray(generator.integers(0, 256, (16, 16, 3), np.uint8))
        for folder in ("imagenet_calib", f"imagenet_val/{index % 10}"):
            place = tmp_path / "data" / folder
            place.mkdir(parents=True, exist_ok=True)
            pixels.save(place / f"{index}.png")
    return tmp_path / "data"


def run(model: Path, data: Path, *more: str) -> int:
    return main(["--models", str(model), "--data", str(data), "--threads", "1", *more])


def test_rows_are_printed_and_written(model, data, tmp_path, capsys):
    out = tmp_path / "rows.json"
    assert run(model, data, "--quantizers", "onnxruntime", "--json", str(out)) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row.keys() >= ROW_KEYS
    assert (row["model"], row["quantizer"], row["metric"]) == ("net", "onnxruntime", "top-1")
    assert row["n"] == 24
    assert row["delta"] == pytest.approx(row["value"] - row["fp32"])
    assert row["delta_low"] <= row["delta"] <= row["delta_high"]
    assert 0.0 <= row["changed"] < 24
    printed = capsys.readouterr().out
    assert "| model | quantizer   | metric |" in printed
    assert "| net   | onnxruntime | top-1  |" in printed


def test_kept_models_are_not_made_again(model, data, tmp_path, monkeypatch):
    keep, out = tmp_path / "keep", tmp_path / "rows.json"
    options = ("--quantizers", "onnxruntime", "--keep", str(keep), "--json", str(out))
    assert run(model, data, *options) == 0
    first = json.loads(out.read_text())["rows"][0]
    assert first["seconds"] > 0

    def refuse(*arguments):
        raise AssertionError("quantized again")

    monkeypatch.setattr(peer_quantizers, "PEER_QUANTIZERS", {"onnxruntime": refuse})
    assert run(model, data, *options) == 0
    again = json.loads(out.read_text())["rows"][0]
    assert again == {**first, "seconds": None}


def test_a_peer_that_fails_is_named(model, data, tmp_path, monkeypatch, capsys):
    """The others go on."""

    def fail(*arguments):
        raise RuntimeError("no such operator\nand more")

    peers = {**peer_quantizers.PEER_QUANTIZERS, "onnxruntime_percentile": fail}
    monkeypatch.setattr(peer_quantizers, "PEER_QUANTIZERS", peers)
    out = tmp_path / "rows.json"
    quantizers = "onnxruntime_percentile,onnxruntime"
    assert run(model, data, "--quantizers", quantizers, "--json", str(out)) == 0
    assert [row["quantizer"] for row in json.loads(out.read_text())["rows"]] == ["onnxruntime"]
    said = capsys.readouterr().err
    assert "onnxruntime_percentile cannot quantize net: no such operator\n" in said


def test_a_model_of_an_old_opset_is_raised_for_scales_per_channel(data, tmp_path):
    proto = small_network()
    proto.opset_import[0].version = 11
    onnx.save(proto, tmp_path / "old.onnx")
    samples = [{"image": np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)}]
    path = peer_quantizers.onnxruntime_static(
        tmp_path / "old.onnx", samples, tmp_path / "quantized", False
    )
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_limit_bounds_what_is_measured(model, data, tmp_path):
    out = tmp_path / "rows.json"
    options = ("--quantizers", "onnxruntime", "--limit", "10", "--calibration-limit", "8")
    assert run(model, data, *options, "--json", str(out)) == 0
    assert json.loads(out.read_text())["rows"][0]["n"] == 10


@pytest.mark.parametrize("transformer", [False, True])
def test_dynamic_quantization_is_of_transformers_alone(model, data, capsys, transformer):
    if transformer:
        quantized = peer_quantizers.onnxruntime_dynamic(model, [], data / "dynamic", True)
        operators = [node.op_type for node in onnx.load(quantized).graph.node]
        assert "MatMulInteger" in operators or "DynamicQuantizeLinear" in operators
    else:
        assert run(model, data, "--quantizers", "onnxruntime_dynamic") == 0
        assert capsys.readouterr().out == ""


def test_an_unknown_quantizer_is_refused(model, data, capsys):
    assert run(model, data, "--quantizers", "nccf") == 2
    assert "no quantizer 'nccf'; possible: ingot, ingot_qdq, onnxruntime" in capsys.readouterr().err


def test_a_package_that_is_missing_is_named(model, data, capsys, monkeypatch):
    monkeypatch.setattr(peer_quantizers.importlib.util, "find_spec", lambda name: None)
    assert run(model, data, "--quantizers", "nncf_onnx") == 2
    assert "nncf_onnx needs the package nncf: install it" in capsys.readouterr().err


@pytest.mark.slow
def test_ingots_two_rows_come_from_one_compilation(model, data, tmp_path, monkeypatch):
    compiled = []
    original = int8_accuracy.compile_model

    def spy(*arguments, **keywords):
        compiled.append(arguments)
        return original(*arguments, **keywords)

    monkeypatch.setattr(int8_accuracy, "compile_model", spy)
    out = tmp_path / "rows.json"
    assert run(model, data, "--quantizers", "ingot,ingot_qdq", "--json", str(out)) == 0
    artifact, graph = json.loads(out.read_text())["rows"]
    assert len(compiled) == 1
    assert (artifact["quantizer"], graph["quantizer"]) == ("ingot", "ingot_qdq")
    assert abs(artifact["delta"] - graph["delta"]) <= 10.0
    assert artifact["size_ratio"] > 0
