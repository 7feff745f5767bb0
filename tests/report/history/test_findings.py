"""Judgements in words."""

import pytest

from ingot.report.history.changes import CheckSettings, check, series_of
from ingot.report.history.findings import in_words
from tests.report.history.conftest import make_runs


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([10.0], "10 ms; no earlier runs to hold it against"),
        ([10.0, 11.0], "11 ms; 1 earlier run to hold it against"),
        ([10.0] * 9, "10 ms, usual is 10 over 8 runs: the same (worse from 3 % on)"),
        (
            [10.0] * 8 + [9.0],
            "9 ms, usual is 10 over 8 runs: \N{MINUS SIGN}10.00 % (worse from 3 % on)",
        ),
    ],
)
def test_a_series_in_a_sentence(values, words):
    (judgement,) = check(series_of(make_runs(values)), CheckSettings())
    assert in_words(judgement) == words
