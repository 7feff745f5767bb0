"""``ingot report`` as it is called."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.cli.main import main
from ingot.cli.report import _default_recipe, _print
from tests.report.conftest import make_npu_variant, make_report

QUICK = ["--threads", "1", "--runs", "20"]


@pytest.fixture
def model(tmp_path):
    """An ``.onnx`` file: ``y = x W``, [1, 4] -> [1, 3]."""
    weights = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="matmul")],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(weights, "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 10
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    x = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=(x @ weights).argmax(axis=1))
    return path


def test_the_finding_is_printed_the_report_written_and_a_rule_that_fails_gives_1(
    model, tmp_path, capsys
):
    output = tmp_path / "out"
    rules = ["--fail-on", "size>1.0x", "--fail-on", "accuracy<-0.5"]
    data = str(tmp_path / "data.npz")
    assert main(["report", str(model), "--data", data, "-o", str(output), *rules, *QUICK]) == 1
    printed = capsys.readouterr()
    assert "with the same top-1 (100.00 %), every prediction alike" in printed.out
    assert "failed size>1.0x: size of Ingot fp32 is" in printed.out
    assert "passed accuracy<-0.5: accuracy of Ingot fp32 is 0.00" in printed.out
    assert printed.out.rstrip().endswith(f"report: {output / 'report.html'}")
    assert "measuring in turn" in printed.err
    assert sorted(file.name for file in output.iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]


@pytest.mark.parametrize(
    ("milliseconds", "noise", "code", "told"),
    [(4, 0.2, 0, "passed"), (120, 0.2, 1, "failed")],
    ids=["noise alone", "slowness"],
)
def test_a_budget_fails_a_build_when_the_measured_process_is_slow_and_not_by_noise(
    model, tmp_path, ingot, slowed, milliseconds, noise, code, told
):
    targets = tmp_path / "targets.toml"
    targets.write_text("[net]\nlatency_p50_ms = 60\n")
    slowed(milliseconds, noise=noise, seed=5)
    output = tmp_path / "out"
    quick = ["--threads", 1, "--runs", 4]
    outcome = ingot("report", model, "--targets", targets, "-o", output, *quick)
    assert outcome.code == code, outcome.err
    assert f"{told} latency_p50_ms = 60: latency_p50_ms of Ingot fp32 is " in outcome.out
    (check,) = json.loads((output / "report.json").read_text())["checks"]
    assert (check["failed"], check["told"]) == (code == 1, True)
    for page in ("report.md", "report.html"):
        assert "latency_p50_ms = 60" in (output / page).read_text()


def test_json_is_alone_on_standard_output(model, tmp_path, capsys):
    rule = ["--fail-on", "size>9999x"]
    assert main(["report", str(model), "-o", str(tmp_path / "out"), "--json", *rule, *QUICK]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert [variant["engine"] for variant in document["variants"]] == ["onnxruntime", "ingot"]
    assert document["model"]["name"] == "net"
    assert [check["failed"] for check in document["checks"]] == [False]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--fail-on", "latency>fast"], 2, "--fail-on 'latency>fast' cannot be read"),
        (["--fail-on", "accuracy<-0.5"], 2, "needs labelled data"),
        (["--data", "nowhere"], 1, "no data at nowhere"),
        (["--metric", "top7"], 2, "no metric 'top7'; possible are top1, top5, spearman"),
        (["--against", "tensorrt"], 2, "no peer 'tensorrt' to compare with"),
        (["--recipe", "fp23"], 2, "no recipe 'fp23'"),
        (["--limit", "0", "--data", "data.npz"], 2, "a limit of 0 examples is not possible"),
        (["--runs", "1"], 2, "1 runs are not enough"),
        (["--threads", "0"], 2, "0 threads are not possible"),
        (["--seconds", "nan"], 2, "nan seconds are not possible"),
        (["--seconds", "-1"], 2, "-1 seconds are not possible"),
        (["--shape", "z=1x2"], 2, "the model has no such input"),
        (["--targets", "none.toml"], 2, "the budgets none.toml cannot be read"),
    ],
)
def test_wrong_use_gets_one_line_and_its_exit_code(
    model, monkeypatch, capsys, arguments, code, message
):
    monkeypatch.chdir(model.parent)
    given = ["report", "net.onnx", "--threads", "1", "--runs", "20", *arguments]
    assert main(given) == code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("ingot: error: ")
    assert message in last
    assert not (model.parent / "net-report").exists()


@pytest.mark.parametrize(
    ("targets", "recipe"),
    [([], "fp32"), (["cpu"], "fp32"), (["npu:ethos-u55-256"], "int8"), (["cpu", "npu:x"], "int8")],
)
def test_what_is_for_an_npu_is_quantized_by_default(targets, recipe):
    assert _default_recipe(targets) == recipe


def test_npus_have_a_table_of_their_own(capsys, tmp_path):
    reference = make_report()
    _print(make_report(npu=(make_npu_variant(),)), tmp_path / "report.html")
    lines = capsys.readouterr().out.splitlines()
    (header,) = (line for line in lines if "on an NPU, estimated" in line)
    (row,) = (line for line in lines if "Ingot int8 on ethos-u55-256" in line)
    assert "per second" in header and "median" not in header
    assert "12,345" in row and "40,502" in row and "98.7%" in row
    assert reference.headline in "\n".join(lines)
