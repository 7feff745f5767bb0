"""``ingot passes`` lists every pass, for people and for scripts."""

import json

import pytest

from ingot.cli.main import main
from ingot.passes.registry import Registry, available
from tests.passes.test_registry import EntryPoint


def test_every_pass_with_its_summary_tolerance_and_options(capsys):
    assert main(["passes"]) == 0
    printed = capsys.readouterr().out
    for name, cls in available().items():
        assert f"{name}: {cls.summary}" in printed
    assert "outputs may differ by nothing" in printed
    assert "outputs may differ by float rounding (2e-05 of their scale)" in printed
    assert "option max_bytes: int = 1048576  most bytes that folding one node may add" in printed


def test_json(capsys):
    assert main(["passes", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert list(listed) == list(available())
    folding = listed["cleanup.constant-folding"]
    assert folding["tolerance"] == "float rounding"
    assert folding["origin"] == "ingot.passes.cleanup"
    (option,) = folding["options"]
    assert (option["name"], option["type"], option["default"]) == ("max_bytes", "int", 1 << 20)
    assert listed["cleanup.dead-code"]["tolerance"] == "exact"


def test_pass_of_another_library_shows_its_constructors_options(capsys, monkeypatch):
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass

    registry = Registry(entry_points=[EntryPoint("acme.cse", CommonSubexpressionEliminationPass)])
    monkeypatch.setattr("ingot.cli.passes.default_registry", lambda: registry)
    assert main(["passes", "--json"]) == 0
    entry = json.loads(capsys.readouterr().out)[-1]
    assert entry["name"] == "acme.cse"
    assert entry["summary"] == "Eliminate common subexpression in ONNX graphs."
    assert [(o["name"], o["type"], o["default"]) for o in entry["options"]] == [
        ("size_limit", "int", 10)
    ]


@pytest.mark.parametrize("arguments", [["passes", "--jsn"], ["passes", "cleanup"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().out == ""
