"""Candidates: compiled, judged and timed, each of it once."""

import dataclasses

import pytest

from ingot.compiler.recipe import NAMED_RECIPES, Recipe
from ingot.data import open_dataset
from ingot.data.metrics import Top1
from ingot.errors import UsageError
from ingot.optimization.candidates import Candidates
from ingot.optimization.subject import Subject
from ingot.optimization.workplace import Workplace
from ingot.progress import no_progress
from ingot.report.measure import MeasureSettings, choose_cpus


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("work"))


@pytest.fixture(scope="module")
def made(classifier, labelled, workplace):
    data = open_dataset(labelled, None, ["x"])
    subject = Subject(classifier, "digest", {}, data, Top1(), dict(data[0].inputs[0]), data)
    settings = MeasureSettings(threads=1, cpus=choose_cpus(1), runs=4, warmup_runs=4)
    return Candidates(subject, workplace, settings, "this one", no_progress)


@pytest.fixture(scope="module")
def fp32(made):
    return made.compile("fp32", Recipe())


def test_an_artifact_is_timed_in_turn_with_another(made, fp32, workplace):
    int8 = made.compile("int8", NAMED_RECIPES["int8"])
    found = made.speed(int8, fp32)
    assert found.source == "measured" and found.against == "fp32"
    assert found.low <= found.ratio <= found.high
    assert found.milliseconds > 0
    assert made.speed(int8, fp32) == found


def test_what_is_measured_once_more_is_not_what_was_kept(made, fp32, monkeypatch):
    int8 = made.compile("int8", NAMED_RECIPES["int8"])
    first = made.speed(int8, fp32)
    other = first.model_copy(update={"ratio": first.ratio / 2})
    monkeypatch.setattr(Candidates, "_measured", lambda *_: other)
    assert made.speed(int8, fp32) == first
    assert made.speed(int8, fp32, once_more=True) == other


def test_answers_are_those_of_the_artifact(made, fp32, labelled):
    answers = made.answers(fp32, Top1())
    labels = open_dataset(labelled, None, ["x"]).labels
    assert Top1().aggregate(answers, labels) == pytest.approx(90.0)


def test_code_for_another_cpu_cannot_be_timed(made, fp32):
    target = dataclasses.replace(fp32.manifest.target, architecture="mips")
    manifest = dataclasses.replace(fp32.manifest, target=target)
    with pytest.raises(UsageError, match="is not this machine"):
        made.speed(dataclasses.replace(fp32, key="other", manifest=manifest), fp32)
