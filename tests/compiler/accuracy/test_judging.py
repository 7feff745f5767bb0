"""Losses with their paired intervals, against a budget."""

import numpy as np
import pytest

from ingot.compiler.accuracy.judging import judge
from ingot.data.metrics import Top1, UserMetric

LABELS = np.zeros(1000, dtype=np.int64)


def guesses(wrong):
    found = np.zeros((1000, 1), dtype=np.int64)
    found[:wrong] = 1
    return found


@pytest.mark.parametrize(
    ("wrong", "budget", "verdict", "within"),
    [
        (0, 0.0, "held", True),
        (5, 2.0, "held", True),
        (5, 0.6, "not resolved", True),
        (5, 0.4, "not resolved", False),
        (50, 1.0, "broken", False),
    ],
)
def test_the_interval_decides_where_it_can(wrong, budget, verdict, within):
    found = judge(Top1(), guesses(wrong), guesses(0), LABELS, budget)
    assert found.verdict == verdict and found.within == within
    assert found.low <= found.loss <= found.high
    assert found.loss == pytest.approx(wrong / 10)
    assert (found.reference, found.value) == (100.0, pytest.approx(100.0 - wrong / 10))


def test_a_loss_of_a_metric_that_is_better_lower_is_what_it_grows_by():
    def error(outputs, label):
        del outputs, label
        return 0.0

    error.higher_is_better = False
    found = judge(UserMetric(error), np.full(100, 3.0), np.full(100, 1.0), np.zeros(100), 1.0)
    assert found.loss == found.low == found.high == 2.0
    assert found.verdict == "broken"
