"""``ingot inspect``, ``verify``, ``targets`` and ``doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from ingot.compiler.build import Artifact
from ingot.runtime.manifest import Manifest
from ingot.targets.registry import parse_target
from tests.command_line import Ingot
from tests.conftest import small_network
from tests.damage import flip_a_bit


def test_inspect_shows_what_the_manifest_holds(ingot: Ingot, small_artifact: Artifact) -> None:
    out = ingot("inspect", small_artifact.path).out
    assert "image: float32[N, 3, 16, 16]" in out
    assert small_artifact.manifest.source["sha256"] in out
    assert "fusion.conv-batch-norm" in out
    assert "checked at" in out and "N = 1, 2, 3, 4" in out


def test_inspect_json_is_the_manifest(ingot: Ingot, small_artifact: Artifact) -> None:
    out = ingot("inspect", small_artifact.path, "--json").out
    assert Manifest.from_json(out) == small_artifact.manifest


def test_inspect_of_a_model_shows_what_can_be_pruned(ingot: Ingot, small_model: Path) -> None:
    out = ingot("inspect", small_model).out
    assert "why its channels stay" in out
    found = json.loads(ingot("inspect", small_model, "--json").out)
    assert found["groups"] and found["held"]
    for group in found["groups"]:
        assert 0 < group["parameters"] < found["parameters"]
        assert group["written_by"]


def test_inspect_of_an_artifact_shows_what_was_pruned(
    ingot: Ingot, small_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "pruned.ingot"
    assert ingot("compile", small_model, "--prune", "0.1", "-o", path).code == 0
    out = ingot("inspect", path).out
    assert "pruned channels of" in out


@pytest.mark.parametrize("name", ["no-such-model", "missing.onnx", "missing.ingot"])
def test_inspect_of_what_is_not_there_says_so(ingot: Ingot, name: str) -> None:
    outcome = ingot("inspect", name)
    assert outcome.code != 0
    assert name in outcome.error


def test_verify_compares_with_the_source(
    ingot: Ingot, small_artifact: Artifact, small_model: Path
) -> None:
    outcome = ingot("verify", small_artifact.path, "--model", small_model, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["reference"]["max_rel_error"] < 1e-5


def test_verify_refuses_another_source(
    ingot: Ingot, small_artifact: Artifact, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    onnx.save(small_network(batch=1), other)
    outcome = ingot("verify", small_artifact.path, "--model", other)
    assert outcome.code == 1
    assert "was made from another model than" in outcome.error


def test_verify_names_a_damaged_member(
    ingot: Ingot, small_artifact: Artifact, tmp_path: Path
) -> None:
    damaged = flip_a_bit(small_artifact.path, "params.safetensors", tmp_path / "damaged.ingot")
    outcome = ingot("verify", damaged)
    assert outcome.code == 1
    assert "member params.safetensors does not have the digest" in outcome.error


def test_targets_tell_of_this_machine(ingot: Ingot) -> None:
    told = json.loads(ingot("targets", "--json").out)
    assert told["cpu"]["native"]["mcpu"] in told["cpu"]["processors"]
    assert told["cpu"]["native"]["mcpu"] in ingot("targets").out
    assert told["cpu"]["native"]["target"] == parse_target("cpu").spec


def test_doctor_finds_nothing_wrong_here(ingot: Ingot) -> None:
    outcome = ingot("doctor", "--json")
    assert outcome.code == 0
    assert all(finding["ok"] for finding in json.loads(outcome.out))


def test_doctor_says_what_costs_speed(ingot: Ingot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    outcome = ingot("doctor", "--tune")
    assert outcome.code == 0
    assert "export OMP_NUM_THREADS=" in outcome.out
    findings = json.loads(ingot("doctor", "--tune", "--json").out)
    [finding] = [each for each in findings if each["found"].startswith("OMP_NUM_THREADS=1000")]
    assert (finding["check"], finding["cost"]) == ("threads in the environment", "some")


def test_doctor_tells_what_is_wrong(ingot: Ingot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingot.cli.doctor._SMALLEST_FREE", 1 << 60)
    outcome = ingot("doctor")
    assert outcome.code == 1
    assert "wrong" in outcome.out
