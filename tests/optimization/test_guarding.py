"""Recipes whose steps have to pay, in reports and where they are compiled."""

import pytest

import ingot
from ingot.compiler.optimization_record import SpeedFound, read_optimization
from ingot.errors import UsageError
from ingot.optimization import candidates
from ingot.optimization.guarding import guarded
from ingot.runtime import ArtifactReader


def slower(self, candidate, other):
    del self, candidate
    return SpeedFound(
        against=other.name, ratio=0.5, low=0.4, high=0.6, source="measured", milliseconds=1.0
    )


def test_a_step_that_is_slower_is_left_out_of_the_variant(
    classifier, labelled, tmp_path, monkeypatch
):
    monkeypatch.setattr(candidates.Candidates, "_measured", slower)
    variant = guarded("int8", classifier, tmp_path, labelled)
    manifest = ArtifactReader(variant.artifact).manifest
    assert variant.name == "Ingot int8, guarded"
    assert manifest.precision["default"] == "fp32"
    found = read_optimization(manifest.measured)
    assert found.kept == () and found.accuracy is None
    assert found.trials[-1].name == "quantization"
    assert "0.50x as fast as int8, bare" in found.trials[-1].reason


def test_without_labels_nothing_is_kept_that_may_cost_accuracy(classifier, tmp_path):
    variant = guarded("bf16", classifier, tmp_path)
    found = read_optimization(ArtifactReader(variant.artifact).manifest.measured)
    assert "without labelled data" in found.trials[-1].reason


def test_what_measures_nothing_refuses_a_guarded_recipe(classifier, tmp_path):
    with pytest.raises(UsageError, match="'best' is guarded"):
        ingot.compile(classifier, tmp_path / "a.ingot", recipe="best")
