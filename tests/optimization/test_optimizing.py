"""From a model to the best artifact: what is written, and what is not done twice."""

import numpy as np
import pytest

from ingot.compiler.optimization_record import SpeedFound, read_optimization
from ingot.errors import IngotError
from ingot.optimization import candidates
from ingot.optimization.optimizing import optimize
from ingot.runtime import ArtifactReader, Session

RATIOS = ()


@pytest.fixture(scope="module", autouse=True)
def timed_by_size():
    """Times of a model this small say nothing: what is smaller is faster here."""

    def measured(self, candidate, other):
        del self
        ratio = other.size / candidate.size
        return SpeedFound(
            against=other.name, ratio=ratio, low=ratio, high=ratio, source="measured",
            milliseconds=1.0,
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates.Candidates, "_measured", measured)
        yield


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def made(classifier, labelled, state, tmp_path_factory):
    output = tmp_path_factory.mktemp("output") / "best.ingot"
    return optimize(
        classifier, output, labelled, goal="size", accuracy_budget=5.0, ratios=RATIOS, state=state
    )


def test_the_artifact_says_how_it_was_found(made):
    path = made.artifact.path
    found = read_optimization(ArtifactReader(path).manifest.measured)
    assert found == made.optimization
    assert [trial.name for trial in found.trials] == [
        "int8", "int8 with layers in float", "bf16", "fp16",
    ]  # fmt: skip
    for trial in found.trials:
        assert trial.reason
        assert (trial.decision == "kept") <= trial.accuracy.within if trial.accuracy else True
    assert found.bytes <= found.reference_bytes
    assert any("Calibrated with" in note for note in found.notes)


def test_the_artifact_runs(made, labelled):
    ArtifactReader(made.artifact.path).verify()
    x = np.load(labelled)["x"][:1]
    assert Session(made.artifact.path).run({"x": x})["y"].shape == (1, 8)


def test_a_loss_is_that_of_the_artifact_against_float(made, labelled, classifier, tmp_path):
    found = optimize(
        classifier, tmp_path / "again.ingot", labelled, goal="size", accuracy_budget=5.0,
        ratios=RATIOS, state=None,
    ).optimization  # fmt: skip
    data = np.load(labelled)
    session = Session(tmp_path / "again.ingot")
    right = [
        int(session.run({"x": x[None]})["y"].argmax()) == y
        for x, y in zip(data["x"], data["y"], strict=True)
    ]
    assert found.accuracy is None or found.accuracy.value == pytest.approx(100 * np.mean(right))
    assert found.kept == made.optimization.kept


def test_finished_work_is_not_done_again(made, classifier, labelled, state, tmp_path, monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("compiled or answered again")

    monkeypatch.setattr(candidates, "compile_model", refuse)
    monkeypatch.setattr(candidates, "answers", refuse)
    again = optimize(
        classifier, tmp_path / "best.ingot", labelled, goal="size", accuracy_budget=5.0,
        ratios=RATIOS, state=state,
    )  # fmt: skip
    assert again.optimization == made.optimization


def test_after_an_interruption_only_the_rest_is_done(classifier, labelled, tmp_path, monkeypatch):
    real, compiled = candidates.compile_model, []

    def until_the_second(model, output, **options):
        if len(compiled) == 2:
            raise KeyboardInterrupt
        compiled.append(options["recipe"].name)
        return real(model, output, **options)

    options = {
        "goal": "size",
        "accuracy_budget": 5.0,
        "ratios": RATIOS,
        "state": tmp_path / "state",
    }
    monkeypatch.setattr(candidates, "compile_model", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        optimize(classifier, tmp_path / "best.ingot", labelled, **options)
    assert not (tmp_path / "best.ingot").exists()
    assert compiled == ["fp32", "int8"]
    rest = []

    def note(model, output, **more):
        rest.append(more["recipe"].name)
        return real(model, output, **more)

    monkeypatch.setattr(candidates, "compile_model", note)
    optimize(classifier, tmp_path / "best.ingot", labelled, **options)
    assert rest == ["bf16", "fp16"]


def test_damaged_work_is_done_again(made, classifier, labelled, state, tmp_path):
    for path in state.iterdir():
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again = optimize(
        classifier, tmp_path / "best.ingot", labelled, goal="size", accuracy_budget=5.0,
        ratios=RATIOS, state=state,
    )  # fmt: skip
    assert again.optimization.kept == made.optimization.kept


def test_the_guard_tries_a_recipes_own_steps(classifier, labelled, tmp_path):
    made = optimize(
        classifier, tmp_path / "best.ingot", labelled, recipe="int8", guard=True, goal="size",
        accuracy_budget=5.0,
    )  # fmt: skip
    assert [trial.name for trial in made.optimization.trials] == ["fusion", "quantization"]
    assert made.optimization.trials[0].reason == "it changes nothing"


def test_an_output_that_is_the_model_is_refused(classifier, labelled):
    with pytest.raises(IngotError):
        optimize(classifier, classifier, labelled)
