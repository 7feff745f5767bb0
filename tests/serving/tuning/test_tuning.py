"""Finding how to batch a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tomllib

from ingot.compiler.build import Artifact
from ingot.serving.load.outcomes import LoadOutcome
from ingot.serving.options import server_options
from ingot.serving.tuning.candidates import Candidate, candidates
from ingot.serving.tuning.search import Loaded, Point, measure_candidate, pareto_front, tune
from tests.command_line import Ingot

ONE, TWO, THREE = (Candidate(rows, 0.0, 1, 1) for rows in (1, 4, 16))


def test_candidates_are_ways_that_differ_and_keep_to_the_cpus() -> None:
    found = candidates(20.0, 2, 16, joins=True)
    assert len(set(found)) == len(found)
    assert {each.max_batch_size for each in found} == {1, 4, 16}
    assert all(each.instances * each.threads <= 2 for each in found)
    assert all(each.max_delay_ms <= 20.0 / 4 for each in found)


def test_a_model_whose_requests_cannot_be_joined_is_not_batched() -> None:
    assert {each.max_batch_size for each in candidates(20.0, 2, 16, joins=False)} == {1}


def test_the_front_holds_what_nothing_else_is_better_than() -> None:
    points = [
        Point(ONE, 100, 5.0), Point(ONE, 200, 9.0), Point(TWO, 150, 20.0),
        Point(TWO, 300, 12.0), Point(THREE, 300, 11.0), Point(THREE, 90, 5.0),
    ]  # fmt: skip
    assert [(point.rate, point.p99_ms) for point in pareto_front(points)] == [
        (100, 5.0), (200, 9.0), (300, 11.0),
    ]  # fmt: skip


def test_the_best_is_what_takes_most_within_the_bound() -> None:
    limits = {ONE: 100.0, TWO: 400.0, THREE: 50.0}

    def measure(candidate: Candidate) -> Loaded:
        def load(rate: float) -> LoadOutcome:
            latency = 0.001 if rate <= limits[candidate] else 1.0
            return LoadOutcome(1.0, 10, np.full(10, latency), {200: 10}, 0)

        return measure_candidate(candidate, load, 0.02, 80.0)

    tuning = tune([ONE, TWO, THREE], measure, 100.0)
    assert tuning.best is not None
    assert tuning.best.candidate == TWO
    assert 370 < tuning.best.rate <= 400
    assert tuning.left == ()


def test_without_time_one_is_measured_and_the_others_are_said() -> None:
    tuning = tune([ONE, TWO], lambda candidate: Loaded(candidate, 0.0, ()), 0.0)
    assert len(tuning.measured) == 1
    assert tuning.left == (TWO,)
    assert tuning.best is None


def test_the_command_writes_what_serve_takes(
    ingot: Ingot, small_artifact: Artifact, tmp_path: Path
) -> None:
    file, page = tmp_path / "serve.toml", tmp_path / "tuning.html"
    outcome = ingot(
        "serve-tune", small_artifact.path, "--p99", "1s", "--seconds", "0.1",
        "--budget-seconds", "0", "-o", file, "--html", page, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    best = tomllib.loads(file.read_text())
    assert best == said["best"]
    assert said["measured"][0]["rate"] > 0
    options = server_options({"artifacts": (str(small_artifact.path),)}, file)
    assert options.default.max_batch_size == best["max_batch_size"]
    assert "<svg" in page.read_text()
    assert "http://" not in page.read_text().replace("http://www.w3.org", "")


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "x", "1h"])
def test_a_bound_is_a_duration(ingot: Ingot, small_artifact: Artifact, text: str) -> None:
    outcome = ingot("serve-tune", small_artifact.path, "--p99", text)
    assert outcome.code == 2
    assert "is no duration" in outcome.error
