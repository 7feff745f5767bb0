"""Figures and their intervals: what they are, and what they refuse to say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.data.metrics import Spearman
from ingot.statistics import (
    aggregate_estimate,
    difference_of_medians,
    discordance,
    mean_estimate,
    mean_over_rounds,
    median_estimate,
    paired_aggregate_difference,
    paired_difference,
    quantile,
    quantile_estimate,
    ratio_of_medians,
    runs_needed,
)

SEEDS = st.integers(0, 2**32 - 1)


class TestQuantile:
    @pytest.mark.parametrize(("q", "least"), [(0.95, 20), (0.99, 100), (0.999, 1000)])
    def test_a_high_quantile_needs_enough_runs(self, q, least):
        assert runs_needed(q) == least
        assert quantile(np.arange(least - 1), q) is None
        assert quantile(np.arange(least), q) == pytest.approx((least - 1) * q)

    def test_a_median_needs_one_sample(self):
        assert quantile(np.array([3.0]), 0.5) == 3.0
        assert quantile(np.array([]), 0.5) is None


class TestQuantileEstimate:
    @given(SEEDS)
    @settings(max_examples=20)
    def test_lies_in_its_interval_whose_upper_end_takes_368_samples(self, seed):
        rng = np.random.default_rng(seed)
        few, many = rng.lognormal(size=(10, 36)), rng.lognormal(size=(10, 37))
        for rounds, bounded in ((few, False), (many, True)):
            found = quantile_estimate(list(rounds), 0.99)
            assert found.low <= found.value <= found.high
            assert np.isfinite(found.high) == bounded
            assert found.high >= rounds.max()

    def test_is_none_from_too_few_samples(self):
        assert quantile_estimate([np.arange(33)] * 3, 0.99) is None

    def test_holds_the_true_quantile_as_often_as_it_says(self):
        rng = np.random.default_rng(1)
        held = 0
        for _ in range(300):
            found = quantile_estimate(list(rng.uniform(size=(20, 30))), 0.99, resamples=200)
            held += found.low <= 0.99 <= found.high
        assert held >= 0.95 * 300


class TestMeanOverRounds:
    @given(SEEDS)
    @settings(max_examples=20)
    def test_lies_in_its_interval_and_is_the_mean(self, seed):
        rounds = list(np.random.default_rng(seed).lognormal(size=(6, 5)))
        found = mean_over_rounds(rounds)
        assert found.value == pytest.approx(np.mean(rounds))
        assert found.low <= found.value <= found.high

    def test_takes_rounds_as_wholes(self):
        """What differs between rounds alone is as uncertain as so few rounds make it."""
        apart = mean_over_rounds([np.full(100, 1.0), np.full(100, 3.0)])
        assert (apart.low, apart.high) == (1.0, 3.0)


class TestRatio:
    @given(SEEDS, st.integers(2, 8), st.integers(1, 5))
    @settings(max_examples=20)
    def test_lies_in_its_interval_and_inverts_with_its_sides(self, seed, rounds, runs):
        rng = np.random.default_rng(seed)
        first = list(rng.uniform(1, 2, (rounds, runs)))
        second = list(rng.uniform(2, 4, (rounds, runs)))
        ratio = ratio_of_medians(first, second, resamples=200)
        inverse = ratio_of_medians(second, first, resamples=200)
        assert ratio.low <= ratio.value <= ratio.high
        assert inverse.value == pytest.approx(1 / ratio.value)

    @given(SEEDS)
    @settings(max_examples=20)
    def test_does_not_depend_on_the_unit(self, seed):
        rng = np.random.default_rng(seed)
        first, second = list(rng.uniform(1, 2, (5, 4))), list(rng.uniform(1, 2, (5, 4)))
        plain = ratio_of_medians(first, second, resamples=100)
        scaled = ratio_of_medians(
            [8 * samples for samples in first], [8 * samples for samples in second], resamples=100
        )
        assert scaled == plain

    def test_a_disturbance_of_both_sides_in_one_round_cancels(self):
        load = [1.0, 1.0, 5.0, 1.0, 3.0]
        first = [np.full(4, 2.0 * factor) for factor in load]
        second = [np.full(4, 1.0 * factor) for factor in load]
        ratio = ratio_of_medians(first, second)
        assert (ratio.low, ratio.value, ratio.high) == (2.0, 2.0, 2.0)

    def test_the_interval_covers_the_truth_about_as_often_as_it_says(self):
        rng = np.random.default_rng(1)
        covered = 0
        for _ in range(200):
            first = list(rng.lognormal(np.log(2.0), 0.2, (12, 10)))
            second = list(rng.lognormal(0.0, 0.2, (12, 10)))
            ratio = ratio_of_medians(first, second, resamples=200)
            covered += ratio.low <= 2.0 <= ratio.high
        assert 0.88 <= covered / 200 <= 0.99

    @pytest.mark.parametrize(
        ("first", "second"), [([], []), ([np.ones(2)], []), ([np.ones(2), np.ones(1)], [1, 2])]
    )
    def test_rounds_that_cannot_be_paired_are_refused(self, first, second):
        with pytest.raises(ValueError, match="round"):
            ratio_of_medians(first, second)

    def test_median_estimate_is_the_median(self):
        rounds = [np.array([1.0, 2.0]), np.array([3.0, 10.0])]
        estimate = median_estimate(rounds)
        assert estimate.value == 2.5
        assert estimate.low <= 2.5 <= estimate.high


class TestDifferences:
    @given(SEEDS, st.integers(2, 300))
    @settings(max_examples=30)
    def test_pairing_leaves_only_the_difference(self, seed, count):
        rng = np.random.default_rng(seed)
        scores = rng.uniform(0, 100, count)
        estimate = paired_difference(scores + 1.0, scores, resamples=100)
        assert estimate.low == pytest.approx(1.0)
        assert estimate.high == pytest.approx(1.0)

    @given(SEEDS)
    @settings(max_examples=20)
    def test_is_antisymmetric(self, seed):
        rng = np.random.default_rng(seed)
        first, second = rng.integers(0, 2, 100) * 100.0, rng.integers(0, 2, 100) * 100.0
        forth, back = paired_difference(first, second), paired_difference(second, first)
        assert forth.value == -back.value
        assert forth.low <= forth.value <= forth.high

    def test_agrees_with_the_normal_approximation_for_many_examples(self):
        rng = np.random.default_rng(2)
        scores = (rng.uniform(size=20_000) < 0.8) * 100.0
        estimate = mean_estimate(scores)
        half = 1.96 * scores.std() / np.sqrt(len(scores))
        assert estimate.low == pytest.approx(estimate.value - half, abs=0.1 * half)
        assert estimate.high == pytest.approx(estimate.value + half, abs=0.1 * half)

    def test_medians_of_two_series(self):
        rng = np.random.default_rng(5)
        slow, usual = rng.normal(11.0, 1.0, 3_000), rng.normal(10.0, 1.0, 200)
        estimate = difference_of_medians(slow, usual)
        assert estimate.value == pytest.approx(np.median(slow) - np.median(usual))
        assert 0.5 < estimate.low < 1.0 < estimate.high < 1.5
        surer = difference_of_medians(slow, usual, confidence=0.999)
        assert surer.low < estimate.low < estimate.high < surer.high

    def test_neighbours_that_are_alike_widen_the_interval(self):
        rng = np.random.default_rng(6)
        drift, usual = np.repeat(rng.normal(10.0, 1.0, 20), 20), rng.normal(10.0, 1.0, 400)
        mixed = rng.permutation(drift)
        wide, narrow = (difference_of_medians(side, usual) for side in (drift, mixed))
        assert wide.high - wide.low > 2 * (narrow.high - narrow.low)

    def test_too_few_samples_have_no_interval(self):
        with pytest.raises(ValueError, match="50 samples"):
            difference_of_medians(np.ones(49), np.ones(100))

    def test_many_distinct_scores_are_resampled_in_pieces(self):
        scores = np.random.default_rng(3).normal(5.0, 1.0, 30_000)
        estimate = mean_estimate(scores, resamples=300)
        assert estimate.low < 5.0 < estimate.high
        assert estimate.high - estimate.low < 0.05

    def test_a_metric_that_is_no_mean(self):
        rng = np.random.default_rng(4)
        labels = rng.uniform(size=300)
        good, bad = labels + rng.normal(0, 0.1, 300), labels + rng.normal(0, 1.0, 300)
        metric = Spearman()
        estimate = paired_aggregate_difference(metric.aggregate, bad, good, labels, resamples=200)
        expected = metric.aggregate(bad, labels) - metric.aggregate(good, labels)
        assert estimate.value == pytest.approx(expected)
        assert estimate.high < 0
        own = aggregate_estimate(metric.aggregate, good, labels, resamples=200)
        assert own.low < own.value < own.high

    def test_equal_predictions_differ_by_nothing(self):
        values = np.arange(10.0)
        estimate = paired_aggregate_difference(Spearman().aggregate, values, values, values)
        assert (estimate.low, estimate.value, estimate.high) == (0.0, 0.0, 0.0)


class TestDiscordance:
    def test_counts_both_ways(self):
        right = np.array([True, True, False, False, True])
        reference = np.array([True, False, True, True, True])
        found = discordance(right, reference)
        assert (found.only_reference, found.only_variant) == (2, 1)
        assert found.p_value == pytest.approx(1.0)

    def test_a_one_sided_loss_is_no_accident(self):
        found = discordance(np.zeros(10, bool), np.ones(10, bool))
        assert found.p_value == pytest.approx(2 * 0.5**10)

    def test_no_disagreement_says_nothing(self):
        assert discordance(np.ones(3, bool), np.ones(3, bool)).p_value == 1.0
