"""Metrics: their values, their pairing, and what they refuse."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.data.metrics import (
    LabelProbability,
    Spearman,
    Top1,
    Top5,
    TopK,
    UserMetric,
    check_class_labels,
    metric_by_name,
)
from ingot.errors import DataError, UsageError


def scores(*values):
    return [{"logits": np.array([values], np.float32)}]


class TestTopK:
    def test_the_highest_scores_in_order(self):
        assert TopK(3).predict(scores(0.1, 0.9, 0.5, 0.7)).tolist() == [1, 3, 2]

    def test_ties_go_to_the_lower_class(self):
        assert Top1().predict(scores(1.0, 2.0, 2.0)).tolist() == [1]

    def test_fewer_classes_than_guesses_never_count_as_hits(self):
        assert Top5().predict(scores(0.2, 0.1)).tolist() == [0, 1, -1, -1, -1]

    def test_a_score_that_is_no_number_is_no_guess(self):
        assert Top1().predict(scores(np.nan, 0.1, np.nan)).tolist() == [1]
        assert Top1().predict(scores(np.nan, np.nan)).tolist() == [-1]

    def test_value_is_the_mean_of_the_scores_per_example(self):
        predictions, labels = np.array([[0], [1], [2], [2]]), np.array([0, 1, 2, 0])
        assert Top1().aggregate(predictions, labels) == 75.0
        assert Top1().per_example(predictions, labels).tolist() == [100, 100, 100, 0]

    @given(
        hnp.arrays(np.float32, st.integers(2, 20), elements=st.floats(-5, 5, width=32)),
        st.integers(1, 6),
    )
    def test_a_further_guess_never_loses_a_hit(self, logits, k):
        outputs = [{"y": logits[np.newaxis]}]
        fewer, more = TopK(k).predict(outputs), TopK(k + 1).predict(outputs)
        assert more[:k].tolist() == fewer.tolist()

    @pytest.mark.parametrize("shape", [(1, 4, 4), (2, 3), (1, 1)])
    def test_outputs_that_are_no_class_scores_are_refused(self, shape):
        with pytest.raises(DataError, match="needs one score per class"):
            Top1().predict([{"y": np.zeros(shape)}])

    def test_labels_beyond_the_model_are_refused(self):
        Top1().check(scores(0.0, 1.0), np.array([0, 1]))
        with pytest.raises(DataError, match=r"label 2 .* the model has 2 classes"):
            Top1().check(scores(0.0, 1.0), np.array([0, 2]))

    def test_labels_that_are_scores_are_refused(self):
        with pytest.raises(DataError, match="not integer class indices"):
            check_class_labels(np.array([0.5]), 2, "the data")


class TestSpearman:
    def test_prediction_is_the_cosine(self):
        outputs = [{"e": np.array([[3.0, 4.0]])}, {"e": np.array([[4.0, 3.0]])}]
        assert float(Spearman().predict(outputs)) == pytest.approx(24 / 25)

    def test_hidden_states_are_pooled_as_the_model_wants(self):
        outputs = [{"h": np.array([[[1.0, 0.0], [9.0, 9.0]]])}, {"h": np.array([[[2.0, 0.0]]])}]
        assert float(Spearman(pool=lambda hidden: hidden[0, 0]).predict(outputs)) == 1.0

    def test_an_embedding_of_zeros_is_similar_to_nothing(self):
        outputs = [{"e": np.zeros((1, 2))}, {"e": np.ones((1, 2))}]
        assert float(Spearman().predict(outputs)) == 0.0

    def test_one_sentence_is_not_enough(self):
        with pytest.raises(DataError, match="needs two sentences per example"):
            Spearman().predict([{"e": np.ones((1, 2))}])

    @given(st.integers(0, 2**32 - 1), st.integers(3, 60))
    def test_value_agrees_with_scipy_ties_included(self, seed, count):
        rng = np.random.default_rng(seed)
        predictions = np.append(rng.integers(0, 5, count), [0, 9]).astype(float)
        labels = np.append(rng.integers(0, 4, count), [1, 7]).astype(float)
        expected = scipy.stats.spearmanr(predictions, labels).statistic * 100
        assert Spearman().aggregate(predictions, labels) == pytest.approx(expected)

    def test_no_variation_is_no_correlation(self):
        assert Spearman().aggregate(np.ones(4), np.arange(4.0)) == 0.0


class TestByName:
    @pytest.mark.parametrize(
        ("spec", "name"), [("top1", "top-1"), ("Top-5", "top-5"), ("spearman", "spearman")]
    )
    def test_built_in(self, spec, name):
        assert metric_by_name(spec).name == name

    def test_a_function_in_a_file(self, tmp_path):
        source = tmp_path / "mine.py"
        source.write_text(
            "def error(outputs, label):\n"
            "    return abs(float(outputs['y'][0]) - label)\n"
            "error.higher_is_better = False\n"
            "error.unit = 'kg'\n"
        )
        metric = metric_by_name(f"{source}:error")
        assert (metric.name, metric.unit, metric.higher_is_better) == ("error", "kg", False)
        predictions = np.stack([metric.predict([{"y": np.array([v])}], 1.0) for v in (2.0, 1.5)])
        assert metric.aggregate(predictions, np.ones(2)) == 0.75

    def test_a_function_in_a_module(self):
        assert metric_by_name("math:hypot").name == "hypot"

    def test_a_metric_class_of_the_users_own(self, tmp_path):
        source = tmp_path / "mine.py"
        source.write_text("from ingot.data.metrics import Top1\nclass Mine(Top1):\n    pass\n")
        assert metric_by_name(f"{source}:Mine").name == "top-1"

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("top7", r"no metric 'top7'; possible are top1, top5, spearman"),
            ("no_such_module:f", r"cannot be loaded: ModuleNotFoundError"),
            ("absent.py:f", r"cannot be loaded: FileNotFoundError"),
            ("math:nothing", r"math has no function 'nothing'"),
            ("math:pi", r"math has no function 'pi'"),
        ],
    )
    def test_what_cannot_be_found_gets_one_line(self, spec, message):
        with pytest.raises(UsageError, match=message) as caught:
            metric_by_name(spec)
        assert "\n" not in str(caught.value)


class TestUserMetric:
    def test_an_error_in_the_function_is_told_in_one_line(self):
        def broken(outputs, label):
            return outputs["nothing"]

        with pytest.raises(DataError, match=r"metric 'broken' failed .* KeyError: 'nothing'"):
            UserMetric(broken).predict([{"y": np.zeros(1)}], 0)

    def test_a_score_that_is_no_number_is_refused(self):
        with pytest.raises(DataError, match="gave nan"):
            UserMetric(lambda outputs, label: float("nan"), "bad").predict([{}], 0)

    def test_two_inferences_are_given_as_a_list(self):
        metric = UserMetric(lambda outputs, label: len(outputs), "count")
        assert float(metric.predict([{"y": np.zeros(1)}] * 2, 0)) == 2.0


@pytest.mark.parametrize(
    "scores", [np.log(np.array([[0.2, 0.5, 0.3]])), np.array([[0.2, 0.5, 0.3]])]
)
def test_the_probability_of_the_label_is_that_of_scores_or_of_probabilities(scores):
    metric = LabelProbability()
    found = metric.predict([{"y": scores}], 1)
    assert metric.aggregate(np.stack([found, found]), np.array([1, 1])) == pytest.approx(50.0)


def test_top_k_has_a_finer_metric_of_the_same_unit_and_others_have_none():
    assert Top1().finer().unit == Top1().unit
    assert Spearman().finer() is None
