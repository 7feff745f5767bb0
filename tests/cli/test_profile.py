"""``ingot profile`` as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.runtime.manifest import KernelCost
from tests.command_line import Ingot
from tests.costs import with_costs

QUICK = ["--threads", "1", "--runs", "2"]


def test_a_model_as_a_table(ingot: Ingot, small_model: Path) -> None:
    outcome = ingot("profile", small_model, *QUICK, "--top", "2")
    assert outcome.code == 0, outcome.err
    for text in ("operators", "conv2d", "more", "small, whole inference", "GB/s from level 2"):
        assert text in outcome.out


def test_an_artifact_as_json(ingot: Ingot, small_artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "net.ingot"
    image = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    names = with_costs(small_artifact.path, path, image, KernelCost("conv2d", 1000, 10, 1))
    outcome = ingot("profile", path, "--json", "--top", "1", *QUICK)
    document = json.loads(outcome.out)
    assert document["machine"]["logical_cpus"] >= 1
    found = document["profile"]
    assert (found["model"], found["threads"]) == ("net", 1)
    assert {row["kernel"] for row in found["rows"]} == set(names)
    assert found["roofline"]["gflops"] > 0
    assert 0 < found["percent_of_roofline"] < 100


@pytest.mark.parametrize(("precision", "stated"), [("fp32", False), ("int8", True)])
def test_the_peak_of_integers_is_stated_where_it_counts(
    ingot: Ingot, small_artifact: Artifact, tmp_path: Path, precision: str, stated: bool
) -> None:
    path = tmp_path / "net.ingot"
    image = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    cost = KernelCost("integer_conv2d", 1000, 10, 1)
    with_costs(small_artifact.path, path, image, cost, precision)
    outcome = ingot("profile", path, *QUICK)
    assert "Gop/s in fp32" in outcome.out
    assert (" in int8;" in outcome.out) == stated


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["there-is-none.ingot"], "there is no artifact"),
        (["there-is-none.onnx"], "there is no file"),
        (["{model}", "--shape", "image=1x3"], "image"),
    ],
)
def test_what_cannot_be_profiled_gets_one_line(
    ingot: Ingot, small_model: Path, arguments: list[str], message: str
) -> None:
    outcome = ingot("profile", *(part.format(model=small_model) for part in arguments))
    assert outcome.code in (1, 2)
    assert outcome.error.startswith("ingot: error: ")
    assert message in outcome.error


def test_a_known_cause_ends_the_profile(
    ingot: Ingot, small_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingot.report.profile.usable_cpus", lambda: 1)
    shape = ["--shape", "image=1x3x16x16"]
    outcome = ingot("profile", small_artifact.path, *shape, "--threads", "2", "--runs", "2")
    assert "Hint: 2 threads take turns on 1 CPU that this process may use" in outcome.out
    document = json.loads(
        ingot("profile", small_artifact.path, *shape, "--threads", "2", "--runs", "2", "--json").out
    )
    assert any(hint.startswith("2 threads") for hint in document["profile"]["hints"])
