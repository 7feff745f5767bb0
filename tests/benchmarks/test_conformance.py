"""The conformance suite's harness: comparing, workers that die, the record and its page."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from benchmarks.conformance_cases import Case, first_difference, load_cases
from benchmarks.conformance_outcomes import Kind, Outcome
from benchmarks.conformance_record import (
    Outcomes,
    read_record,
    render_page,
    worse_than_recorded,
    write_record,
)
from benchmarks.conformance_workers import run_cases

CASE = Case("test_it", "It", b"", {}, [np.float32([1, 2])], rtol=1e-3, atol=1e-7)


def _expecting(*expected: object) -> Case:
    return dataclasses.replace(CASE, expected=list(expected))


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        (np.float32([1, np.nan]), np.float32([1.0001, np.nan]), None),
        (np.float32([1, 2]), np.float32([1, 3]), "1 of 2 elements differ, the first at [1]"),
        (np.float32(1), np.float32([1]), "shape [1] instead of []"),
        (np.float32([1]), np.float64([1]), "dtype float64 instead of float32"),
        (np.array(["a"], object), np.array(["a"], object), None),
        (np.array(["a"], object), np.array(["b"], object), "other strings"),
        (np.ones(2, ml_dtypes.int4), np.ones(2, ml_dtypes.int4), None),
        (np.ones(2, ml_dtypes.bfloat16), np.zeros(2, ml_dtypes.bfloat16), "2 of 2 elements"),
        ([np.int64([1])], [np.int64([1])], None),
        ([np.int64([1])], [], "a sequence of 0 instead of a sequence of 1"),
        (None, None, None),
        (None, np.int64([1]), "an array instead of nothing"),
    ],
)
def test_outputs_are_compared_as_onnx_does(
    expected: object, actual: object, difference: str | None
) -> None:
    found = first_difference(_expecting(expected), [actual])
    assert (found is None) == (difference is None)
    assert difference is None or difference in str(found)


def test_the_number_of_outputs_counts() -> None:
    assert first_difference(CASE, []) == "0 outputs instead of 1"


def _stop_hang_or_pass(case: Case) -> Outcome:
    if case.name == "crash":
        os._exit(7)
    if case.name == "hang":
        time.sleep(60)
    return Outcome(Kind.COMPILED)


def test_a_crash_or_a_hang_costs_its_case_alone() -> None:
    names = ["first", "crash", "second", "hang", "third"]
    tasks = [(_stop_hang_or_pass, dataclasses.replace(CASE, name=name)) for name in names]
    kinds = {case.name: outcome.kind for _, case, outcome in run_cases(tasks, seconds=6)}
    assert kinds == {
        "first": Kind.COMPILED,
        "crash": Kind.CRASH,
        "second": Kind.COMPILED,
        "hang": Kind.HANG,
        "third": Kind.COMPILED,
    }


COMPILED, REGION, REFUSED = (
    Outcome(Kind.COMPILED),
    Outcome(Kind.REGION, "Loop: no lowering"),
    Outcome(Kind.REFUSED, "no such thing"),
)


@pytest.mark.parametrize(
    ("outcome", "recorded", "problem"),
    [
        (COMPILED, COMPILED, None),
        (COMPILED, REFUSED, None),
        (REGION, COMPILED, "c: region: Loop: no lowering, but compiled is recorded"),
        (REFUSED, REGION, "c: refused: no such thing, but region is recorded"),
        (Outcome(Kind.WRONG, "all"), Outcome(Kind.WRONG, "all"), "c: wrong: all"),
        (COMPILED, None, "c: compiled, and no expectation; record it with: "),
    ],
)
def test_what_is_worse_than_recorded_is_said_in_one_line(
    outcome: Outcome, recorded: Outcome | None, problem: str | None
) -> None:
    found = worse_than_recorded("c", outcome, recorded)
    assert found == problem or (problem is not None and str(found).startswith(problem))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    outcomes: Outcomes = {"Add": {"a": COMPILED, "b": REFUSED}, "Loop": {"c": REGION}}
    write_record("1.21", outcomes, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == ("1.21", outcomes)


def test_the_page_says_how_each_operator_runs() -> None:
    page = render_page(
        "1.21",
        {"Add": {"a": COMPILED}, "Loop": {"b": REGION}, "Mix": {"c": COMPILED, "d": REFUSED}},
    )
    rows = [" ".join(line.split()) for line in page.splitlines() if line.startswith("|")]
    assert rows[2:] == [
        "| Add | 1 of 1 | compiled |",
        "| Loop | 1 of 1 | 1 by region: Loop: no lowering |",
        "| Mix | 1 of 2 | 1 compiled; 1 refused: no such thing |",
    ]


def test_of_random_outputs_shapes_and_types_count() -> None:
    case = dataclasses.replace(CASE, random=True)
    assert first_difference(case, [np.float32([7, 8])]) is None
    assert first_difference(case, [np.float32([7])]) is not None


def test_cases_say_which_are_random() -> None:
    kinds = {case.name: case.random for case in load_cases().values() if "dropout" in case.name}
    assert kinds["test_training_dropout_mask"]
    assert not kinds["test_training_dropout_zero_ratio"]
    assert not kinds["test_dropout_default"]
