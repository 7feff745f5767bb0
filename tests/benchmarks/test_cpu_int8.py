"""The int8 benchmark prints its table and writes the rows that design and README read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks import cpu_int8, peer_quantizers
from benchmarks.cpu_int8 import Int8Row, main
from benchmarks.peer_quantizers import PeerError
from ingot.errors import IngotError
from ingot.models.catalog import ModelSource
from ingot.report.rendering.formats import MISSING
from tests.benchmarks.rows import row
from tests.benchmarks.test_cpu_fp32 import ROW_KEYS

FIGURES = {
    "peers_by_quantizer": {
        "onnxruntime": {"onnxruntime": 3.0, "ingot": 2.0},
        "openvino": {"nncf_openvino": 4.0},
    },
    "fp32_ms": 2.5,
    "fp32_ratio": 2.5,
    "fp32_ratio_low": 2.4,
    "fp32_ratio_high": 2.6,
    "fp32_compile_s": 1.0,
    "fp32_artifact_mb": 4.0,
    "size_ratio": 0.25,
    "fp32_peak_rss_mb": 60.0,
}


def int8_row(**changes: object) -> Int8Row:
    return Int8Row(**{**dict(row(2.0)), "precision": "int8", **FIGURES, **changes})


def cells(found: Int8Row, peers: list[str]) -> dict[str, str]:
    headings, _, line = cpu_int8._table([found], peers).splitlines()
    split = [[cell.strip() for cell in text.strip("|").split("|")] for text in (headings, line)]
    return dict(zip(*split, strict=True))


def test_a_time_is_said_with_whose_model_it_is_of() -> None:
    found = cells(int8_row(), ["onnxruntime", "openvino"])
    assert found["ONNX Runtime ms, by quantizer"] == "2.00 Ingot, 3.00 ORT static"
    assert found["OpenVINO ms, by quantizer"] == "4.00 NNCF"


def test_what_int8_gains_over_fp32_stands_in_the_table() -> None:
    found = cells(int8_row(), ["onnxruntime"])
    assert (found["Ingot fp32 ms"], found["fp32 ÷ int8"]) == ("2.50", "2.500")
    assert (found["of fp32's"], found["fp32's RSS MB"]) == ("0.250", "60")


def test_a_peer_that_ran_nothing_has_no_time() -> None:
    assert (
        cells(int8_row(peers_by_quantizer={}), ["openvino"])["OpenVINO ms, by quantizer"] == MISSING
    )


class TestOwnModels:
    """What a peer's own quantizers are asked for."""

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        made: list[str] = []

        def quantize(name: str, source: ModelSource, calibration: object, folder: Path) -> Path:
            made.append(name)
            if name == "nncf_openvino" and source.name == "refused":
                raise PeerError("nncf_openvino cannot quantize refused")
            return folder / name

        monkeypatch.setattr(cpu_int8, "quantized_by", quantize)
        return made

    def own(self, engine: str, model: Path, name: str = "net") -> set[str]:
        source = ModelSource(model, name)
        return set(cpu_int8._own_models(engine, source, None, model.parent, lambda *_: None))

    def nncf(self, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
        monkeypatch.setattr(
            cpu_int8.importlib.util, "find_spec", lambda name: object() if there else None
        )

    @pytest.mark.parametrize("engine", ["openvino", "openvino_bf16"])
    def test_openvinos_is_nncf(self, small_model, asked, monkeypatch, engine):
        self.nncf(monkeypatch, there=True)
        assert self.own(engine, small_model) == {"nncf_openvino"}

    def test_without_nncf_it_is_onnx_runtimes(self, small_model, asked, monkeypatch):
        self.nncf(monkeypatch, there=False)
        assert self.own("openvino", small_model) == {"onnxruntime"}

    def test_so_it_is_for_a_model_that_nncf_does_not_take(
        self, small_model, asked, monkeypatch, capsys
    ):
        self.nncf(monkeypatch, there=True)
        assert self.own("openvino", small_model, "refused") == {"onnxruntime"}
        assert capsys.readouterr().out == "Not timed: nncf_openvino cannot quantize refused\n"

    def test_onnx_runtimes_is_static(self, small_model, asked):
        assert self.own("onnxruntime", small_model) == {"onnxruntime"}

    def test_of_a_transformer_it_is_dynamic_too(self, tokens_model, asked):
        assert self.own("onnxruntime", tokens_model) == {"onnxruntime", "onnxruntime_dynamic"}


@pytest.fixture
def tokens_model(tmp_path: Path) -> Path:
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> '
        "g (int64[N, L] ids, int64[N, L] mask) => (int64[N, L] y) { y = Mul(ids, mask) }"
    )
    onnx.save(model, tmp_path / "tokens.onnx")
    return tmp_path / "tokens.onnx"


def test_a_model_of_tokens_takes_integers_alone(small_model: Path, tokens_model: Path) -> None:
    assert peer_quantizers.reads_tokens(tokens_model)
    assert not peer_quantizers.reads_tokens(small_model)


def test_what_a_peer_cannot_run_is_said_and_left_out(
    small_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Refusing:
        def __init__(self, name: str, engine: str, path: Path, **how: object) -> None:
            if name.endswith("on Ingot"):
                raise IngotError(f"{name} failed: no such operator")

        def close(self) -> None:
            """Does nothing."""

    monkeypatch.setattr(cpu_int8, "Worker", Refusing)
    files = {"onnxruntime": small_model, "ingot": small_model}
    inputs = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    found = cpu_int8._peer_models("onnxruntime", files, inputs, tmp_path)
    assert [model.quantizer for model in found] == ["onnxruntime"]
    assert capsys.readouterr().out == (
        "Not timed: ONNX Runtime on Ingot failed: no such operator\n"
    )


@pytest.mark.slow
def test_a_model_from_end_to_end(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, keep = tmp_path / "rows.json", tmp_path / "keep"
    arguments = ["--models", str(small_model), "--threads", "1", "--runs", "4"]
    arguments += ["--against", "onnxruntime", "--json", str(output), "--keep", str(keep)]
    assert main(arguments) == 0
    (found,) = json.loads(output.read_text())["rows"]
    assert set(found) >= ROW_KEYS
    assert (found["model"], found["precision"], found["batch"]) == ("small", "int8", 1)
    times = found["peers_by_quantizer"]["onnxruntime"]
    assert set(times) == {"onnxruntime", "ingot"}
    assert found["peers"] == {"onnxruntime": min(times.values())}
    assert found["ratio"] == pytest.approx(found["peers"]["onnxruntime"] / found["ingot_ms"])
    assert found["fp32_ratio"] == pytest.approx(found["fp32_ms"] / found["ingot_ms"])
    assert found["size_ratio"] == pytest.approx(found["artifact_mb"] / found["fp32_artifact_mb"])
    assert found["compile_s"] > 0 and found["fp32_compile_s"] > 0
    assert (keep / "small" / "onnxruntime.onnx").is_file()
    assert "| small |" in capsys.readouterr().out


def test_a_model_in_openvinos_format_is_bound_too(small_model: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is an optional peer")
    openvino.save_model(openvino.Core().read_model(small_model), tmp_path / "small.xml")
    inputs = {"image": np.zeros((4, 3, 16, 16), np.float32)}
    bound = cpu_int8._bound(tmp_path / "small.xml", inputs, tmp_path / "bound.xml")
    (port,) = openvino.Core().read_model(bound).inputs
    assert list(port.get_shape()) == [4, 3, 16, 16]
