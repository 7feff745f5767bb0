"""``ingot bisect`` names the guilty pass, by outputs and by accuracy, and exits for scripts."""

import json
from pathlib import Path

import numpy as np
import pytest

from ingot.cli.main import main
from ingot.passes.storage import save
from tests.graphs import parse


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "classifier.onnx"
    save(
        parse("""<ir_version: 10, opset_import: ["":21]>
            g (float[N, 4] x) => (float[N, 3] scores)
            <float[4] one = {1, 1, 1, 1}, float[4, 3] w = {1,0,0, 0,1,0, 0,0,1, 0,0,0}> {
              [scale] a = Mul(x, one)
              [activate] b = Relu(a)
              [same] c = Identity(b)
              [project] scores = MatMul(c, w)
            }"""),
        path,
    )
    return str(path)


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A recipe of eight passes, the third of which is broken."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    path = tmp_path / "broken.yaml"
    path.write_text(
        "simplify: false\n"
        "passes: [cleanup.identities, fusion.bias, 'broken_passes:DropRelu', cleanup]\n"
    )
    return str(path)


@pytest.fixture
def data(tmp_path):
    """Labelled examples that the model gets right, half of them only because of its ReLU."""
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    labels = np.maximum(x, 0)[:, :3].argmax(axis=1)
    path = tmp_path / "data.npz"
    np.savez(path, x=x, y=labels)
    return str(path)


def test_by_outputs(model, broken, capsys):
    assert main(["bisect", model, "--recipe", broken]) == 1
    captured = capsys.readouterr()
    assert "broken.drop-relu, pass 3, is the first to break: outputs within 0.0001" in captured.out
    assert "First tensor: 'b' differs by" in captured.out
    (row,) = [line for line in captured.out.splitlines() if "activate" in line]
    assert row.split() == ["changed", "Relu", "→", "Abs", "activate", "x", "b"]
    assert "0 of 8 passes: good, 0 (" in captured.err
    assert "3 of 8 passes, up to broken.drop-relu: bad, " in captured.err


def test_by_accuracy(model, broken, data, capsys):
    arguments = ["bisect", model, "--recipe", broken, "--data", data, "--max-drop", "1"]
    assert main([*arguments, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["guilty"], report["index"]) == ("broken.drop-relu", 2)
    assert report["criterion"] == "top-1 of at least 99 %"
    assert [node["name"] for node in report["nodes"]] == ["activate"]
    assert report["first_tensor"]["name"] == "b"
    assert report["steps"][0]["measured"] == 100.0


def test_nothing_breaks(model, capsys):
    assert main(["bisect", model]) == 0
    assert capsys.readouterr().out.startswith("No pass breaks the model: outputs within 0.0001")


def test_wide_tolerance_finds_nothing(model, broken, capsys):
    assert main(["bisect", model, "--recipe", broken, "--tolerance", "10"]) == 0
    assert "No pass breaks" in capsys.readouterr().out


def test_json_without_a_guilty_pass(model, capsys):
    assert main(["bisect", model, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["guilty"] is None
    assert len(report["steps"]) == 2


def test_models_before_and_after_are_dumped(model, broken, tmp_path, capsys):
    folder = tmp_path / "dump"
    assert main(["bisect", model, "--recipe", broken, "--dump-passes", str(folder)]) == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "00-input.onnx",
        "01-broken.drop-relu.onnx",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent.onnx"], 1, "there is no file absent.onnx"),
        (["MODEL", "--recipe", "absent.toml"], 2, "no recipe 'absent.toml'"),
        (["MODEL", "--shape", "z=1x4"], 2, "--shape z: the model has no such input"),
        (["MODEL", "--data", "absent"], 1, "absent"),
        (["MODEL", "--tolerance", "-1"], 2, "Invalid value"),
    ],
)
def test_bad_input_is_one_line(arguments, code, message, model, capsys):
    called = [model if argument == "MODEL" else argument for argument in arguments]
    assert main(["bisect", *called]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err
