"""Accuracy on a budget: as few layers in float as it takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.compiler.accuracy import sensitivity
from ingot.compiler.accuracy.budget import _fewest, hold_budget
from ingot.compiler.accuracy.sensitivity import decibels, layer_noise, measure_sensitivity
from ingot.data import open_dataset
from ingot.errors import DataError, VerificationError
from ingot.passes.quantization import InsertQdq
from ingot.passes.quantization.precision import layer_precisions
from tests.passes.quantization.networks import calibrated, images, residual_network


@pytest.fixture(scope="module")
def models():
    network = residual_network()
    quantized = network.clone()
    calibrated(InsertQdq())(quantized)
    return network, quantized


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "labelled.npz"
    x = np.concatenate([one["x"] for one in images(20)])
    np.savez(path, x=x, y=np.arange(20) % 5)
    return open_dataset(path, None, ["x"])


def in_float(model):
    return [n for n, p in layer_precisions(model.graph).items() if p == "fp32"]


def answers(right, sure=None):
    """What top-1 and the finer metric make of 20 examples, of which the first are right."""
    labels = np.arange(20) % 5
    guesses = np.where(np.arange(20) < right, labels, (labels + 1) % 5)
    return [guesses[:, np.newaxis], np.full(20, right / 20 if sure is None else sure)]


def test_nothing_stays_float_when_the_budget_holds_anyway(models, data):
    network, quantized = models
    outcome = hold_budget(quantized, network, data, 100.0, images(2))
    assert in_float(outcome.model) == []
    assert outcome.facts.kept_in_float == ()
    assert outcome.facts.judgement.verdict == "held"


@pytest.mark.parametrize("needed", [1, 2, 3, 4])
def test_no_more_layers_stay_float_than_it_takes(models, data, needed):
    network, quantized = models

    def answer(candidate):
        floats = len(in_float(candidate)) or (4 if candidate is network else 0)
        return answers(18 if floats >= needed else 8)

    outcome = hold_budget(quantized, network, data, 0.5, images(2), answer=answer)
    assert len(in_float(outcome.model)) == needed
    assert outcome.facts.result == 90.0
    assert outcome.facts.quantized == 40.0
    kept = {layer.name for layer in outcome.layers if layer.precision == "fp32"}
    assert kept == set(outcome.facts.kept_in_float) == set(in_float(outcome.model))


def test_the_noisiest_comes_first(models, data):
    network, quantized = models

    def answer(candidate):
        return answers(18 if in_float(candidate) or candidate is network else 8)

    outcome = hold_budget(quantized, network, data, 0.0, images(2), answer=answer)
    (kept,) = outcome.facts.kept_in_float
    assert kept == min(outcome.layers, key=lambda layer: layer.output_sqnr_db).name


def test_where_the_data_cannot_tell_the_finer_metric_decides(models, data):
    """One example of 20 is ten times the budget, and may be chance: its probability says so."""
    network, quantized = models

    def answer(candidate):
        whole = candidate is network
        return answers(18 if whole else 17, sure=0.9 if whole else 0.899)

    outcome = hold_budget(quantized, network, data, 0.5, images(2), answer=answer)
    assert in_float(outcome.model) == []
    assert outcome.facts.judgement.loss == pytest.approx(5.0)
    assert outcome.facts.judgement.verdict == "not resolved"
    assert outcome.facts.finer.loss == pytest.approx(0.1)
    assert "20 examples cannot tell losses below" in str(outcome.facts.judgement)


def test_a_loss_that_the_finer_metric_confirms_is_not_taken_for_chance(models, data):
    network, quantized = models

    def answer(candidate):
        whole = candidate is network or len(in_float(candidate)) == 4
        return answers(18 if whole else 17, sure=0.9 if whole else 0.85)

    outcome = hold_budget(quantized, network, data, 0.5, images(2), answer=answer)
    assert len(in_float(outcome.model)) == 4


def test_what_is_taken_was_tried_and_held_though_more_layers_lose_more(models, data):
    network, quantized = models
    right = {0: 8, 1: 18, 2: 8, 3: 18, 4: 18}

    def answer(candidate):
        return answers(18 if candidate is network else right[len(in_float(candidate))])

    outcome = hold_budget(quantized, network, data, 0.5, images(2), answer=answer)
    count = len(outcome.facts.kept_in_float)
    assert right[count] == 18 and str(count) in outcome.facts.tried


def test_a_budget_that_cannot_hold_is_said(models, data):
    network, quantized = models

    def answer(candidate):
        return answers(20 if candidate is network else 0)

    with pytest.raises(VerificationError, match="does not hold even with all layers in float"):
        hold_budget(quantized, network, data, 1.0, images(2), answer=answer)


def test_sensitivity_is_measured_once(models, monkeypatch):
    network, quantized = models
    found = measure_sensitivity(quantized, network, images(3))
    monkeypatch.setattr(sensitivity, "_measure", lambda *_: pytest.fail("measured again"))
    assert measure_sensitivity(quantized, network, images(3)) == found
    with pytest.raises(pytest.fail.Exception):
        measure_sensitivity(quantized, network, images(4))


def test_data_without_labels_is_refused(models, tmp_path):
    network, quantized = models
    np.savez(tmp_path / "plain.npz", x=images(1)[0]["x"])
    plain = open_dataset(tmp_path / "plain.npz", None, ["x"])
    with pytest.raises(DataError, match="carries no labels"):
        hold_budget(quantized, network, plain, 1.0, images(2))


def test_each_layers_noise_is_small_and_their_sum_is_about_that_of_all(models):
    network, quantized = models
    layers = measure_sensitivity(quantized, network, images(8))
    assert [layer.name for layer in layers] == list(layer_precisions(quantized.graph))
    assert [layer.multiply_adds for layer in layers] == [
        8 * 64 * 27, 8 * 64 * 72, 8 * 64 * 9, 5 * 8,
    ]  # fmt: skip
    assert all(layer.output_sqnr_db > 25 for layer in layers)
    assert [layer.layer_sqnr_db for layer in layers] == [
        layer.layer_sqnr_db for layer in layer_noise(quantized, network, images(8))
    ]


@given(st.integers(0, 50), st.integers(0, 60))
def test_the_fewest_is_found_with_few_tries(most, needed):
    tried = []

    def holds(count):
        tried.append(count)
        return count >= needed

    found = _fewest(most, holds)
    assert found == (needed if needed <= most else None)
    assert len(set(tried)) <= 14


def test_no_noise_has_a_finite_figure():
    assert decibels(1.0, 0.0) == 200.0
    assert decibels(100.0, 1.0) == pytest.approx(20.0)
