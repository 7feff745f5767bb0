"""``ingot bench`` as it is called."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.cli import bench
from ingot.cli.main import main
from ingot.report import compare

QUICK = ["--threads", "1", "--runs", "20"]


@pytest.fixture
def model(tmp_path):
    """An ``.onnx`` file: ``y = x W``, [1, 4] -> [1, 3]."""
    weights = np.ones((4, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="matmul")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 10
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    return path


def test_a_model_against_a_peer_as_json(model, capsys):
    assert main(["bench", str(model), "--against", "onnxruntime", "--json", *QUICK]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["machine"]["logical_cpus"] >= 1
    (row,) = document["rows"]
    assert (row["model"], row["threads"], row["batch"]) == ("net", 1, 1)
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert set(row["peers"]) == {"onnxruntime"}


def test_an_artifact_as_a_table(model, tmp_path, capsys):
    artifact = tmp_path / "net.ingot"
    assert main(["compile", str(model), "-o", str(artifact)]) == 0
    capsys.readouterr()
    assert main(["bench", str(artifact), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "Ingot ms" in printed
    assert "net" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.ingot", "--against", "onnxruntime"], "needs its source model: add --model"),
        (["net.onnx", "--against", "tensorrt"], "no peer 'tensorrt'"),
        (["net.onnx", "--threads", "many"], "--threads 'many' is no list of numbers"),
        (["net.onnx", "--threads", "0"], "0 threads are not possible"),
    ],
)
def test_wrong_use_gets_one_line_and_exit_code_2(model, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(model.parent)
    assert main(["bench", *arguments]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("ingot: error: ")
    assert message in last


def test_a_cpu_quota_decides_on_the_default_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingot.cli.bench.usable_cpus", lambda: 1)
    monkeypatch.setattr("ingot.report.compare.usable_cpus", lambda: 1)
    assert [each.threads for each in bench._settings(None, 10, 1.0)] == [1]
    assert compare._settings(None, 10, 1.0).threads == 1
