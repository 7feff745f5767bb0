"""Judging variants on the same examples."""

import numpy as np
import pytest

from ingot.data import Example
from ingot.data.metrics import Spearman, Top1, UserMetric
from ingot.errors import DataError, IngotError
from ingot.report.evaluate import choose_metrics, evaluate, metric_figures


class FunctionWorker:
    """Stands for a process: outputs are a function of the input ``x``."""

    def __init__(self, name, function):
        self.name, self._function = name, function

    def evaluate(self, inputs):
        return self._function(inputs["x"])


def examples(values, labels=None):
    labels = labels if labels is not None else [None] * len(values)
    return [
        Example(f"{i}", ({"x": np.asarray(value, np.float32)},), label)
        for i, (value, label) in enumerate(zip(values, labels, strict=True))
    ]


def same(x):
    return {"y": x}


ROWS = [[[3.0, 1.0, 2.0]], [[1.0, 2.0, 0.0]], [[0.0, 1.0, 5.0]], [[1.0, 0.0, 0.5]]]


def run(function, values=ROWS, metrics=(), labels=None, reference=same):
    workers = [FunctionWorker("reference", reference), FunctionWorker("variant", function)]
    data = examples(values, labels)
    array = None if labels is None else np.asarray(labels)
    return evaluate(workers, data, len(data), "made-up rows", metrics, labels=array)


class TestAgreement:
    def test_equal_outputs_are_exact(self):
        reference, variant = run(same)
        assert reference.agreement is None
        assert variant.agreement.exact
        assert variant.agreement.max_abs_error == 0.0
        assert variant.agreement.examples == 4

    def test_the_largest_difference_and_the_noise_ratio(self):
        _, variant = run(lambda x: {"y": x + np.float32(0.01)})
        signal = sum(float((np.asarray(row) ** 2).sum()) for row in ROWS)
        expected = 10 * np.log10(signal / (12 * 0.01**2))
        assert variant.agreement.max_abs_error == pytest.approx(0.01, rel=1e-4)
        assert variant.agreement.sqnr_db == pytest.approx(expected, abs=0.01)

    def test_the_worst_output_is_named(self):
        def two(x):
            return {"a": x, "b": x}

        _, variant = run(lambda x: {"a": x * 1.001, "b": x * 1.1}, reference=two)
        assert variant.agreement.worst_output == "b"

    def test_outputs_are_paired_by_position_whatever_their_names(self):
        _, variant = run(lambda x: {"renamed": x})
        assert variant.agreement.exact

    def test_values_that_are_no_numbers_are_told(self):
        _, variant = run(lambda x: {"y": np.full_like(x, np.inf)})
        agreement = variant.agreement
        assert (agreement.finite, agreement.exact, agreement.max_abs_error) == (False, False, None)

    def test_what_is_not_finite_in_the_reference_may_stay_so(self):
        def holed(x):
            return {"y": np.where(x > 2, np.float32("nan"), x)}

        _, variant = run(holed, reference=holed)
        assert variant.agreement.exact

    def test_an_output_that_is_finite_nowhere_is_not_called_equal(self):
        def blank(x):
            return {"y": x, "z": np.full_like(x, np.nan)}

        _, variant = run(blank, reference=blank)
        agreement = variant.agreement
        assert (agreement.finite, agreement.exact, agreement.max_abs_error) == (False, False, None)
        assert agreement.blank_output == "z"

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (lambda x: {"y": x[0]}, r"output y of variant has the shape \[3\], the reference's"),
            (lambda x: {"y": x, "z": x}, "variant gives 2 outputs, the reference 1"),
        ],
    )
    def test_outputs_of_another_kind_are_refused(self, function, message):
        with pytest.raises(IngotError, match=message):
            run(function)


class TestMetrics:
    LABELS = [0, 1, 2, 1]

    def test_predictions_are_kept_per_example(self):
        reference, variant = run(lambda x: {"y": -x}, metrics=[Top1()], labels=self.LABELS)
        assert reference.predictions[0].tolist() == [[0], [1], [2], [0]]
        assert variant.predictions[0].tolist() == [[1], [2], [0], [1]]

    def test_labels_beyond_the_model_are_refused_at_the_first_example(self):
        with pytest.raises(DataError, match=r"label 3 .* out of range"):
            run(same, metrics=[Top1()], labels=[0, 1, 2, 3])

    def test_a_user_metric_sees_outputs_and_label(self):
        metric = UserMetric(lambda outputs, label: float(outputs["y"][0, label]), "score")
        reference, _ = run(same, metrics=[metric], labels=self.LABELS)
        assert reference.predictions[0].tolist() == [3.0, 2.0, 5.0, 0.0]

    def test_the_paired_difference_counts_who_was_right_alone(self):
        labels = np.array([0, 1, 2, 3])
        reference = np.array([[0], [1], [2], [0]])
        predictions = np.array([[0], [1], [0], [3]])
        found = metric_figures(Top1(), predictions, reference, labels)
        assert found.value.value == 75.0
        assert found.difference.value == 0.0
        assert (found.only_reference_right, found.only_variant_right) == (1, 1)
        assert (found.identical, found.n, found.p_value) == (2, 4, 1.0)

    def test_the_reference_has_no_difference(self):
        found = metric_figures(Top1(), np.array([[0], [1]]), None, np.array([0, 0]))
        assert (found.value.value, found.difference, found.identical) == (50.0, None, None)

    def test_a_metric_that_is_no_mean_has_an_interval_too(self):
        labels = np.arange(50.0)
        noisy = labels + np.random.default_rng(0).normal(0, 5, 50)
        found = metric_figures(Spearman(), noisy, labels.copy(), labels)
        assert found.difference.low <= found.difference.value <= found.difference.high < 0
        assert found.only_reference_right is None


class LabelledRows:
    labelled = True
    labels = np.array([0])
    metrics = (Top1(),)


class TestChoice:
    def test_the_data_brings_its_own_metrics(self):
        chosen, labels = choose_metrics(None, LabelledRows())
        assert [metric.name for metric in chosen] == ["top-1"]
        assert labels.tolist() == [0]

    def test_the_datas_own_metric_stands_in_for_one_of_its_name(self):
        chosen, _ = choose_metrics([Top1()], LabelledRows())
        assert chosen[0] is LabelledRows.metrics[0]

    def test_a_metric_needs_data(self):
        with pytest.raises(DataError, match="top-1 needs labelled data: give it with --data"):
            choose_metrics([Top1()], None)

    def test_without_anything_outputs_are_compared(self):
        assert choose_metrics(None, None) == ((), None)
