"""ONNX's own conformance suite comes out as recorded: compiled, by region, or refused.

`expectations.json` has the outcome of each case. Which cases there are is the installed onnx's
affair: those that the record has and onnx lacks are passed over.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.conformance_cases import Case, load_cases
from benchmarks.conformance_engines import run_ingot
from benchmarks.conformance_outcomes import ALLOWED, Outcome
from benchmarks.conformance_record import (
    PAGE,
    read_record,
    render_page,
    worse_than_recorded,
)
from benchmarks.conformance_workers import run_cases


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return load_cases()


def _recorded() -> dict[str, Outcome]:
    _, operators = read_record()
    return {name: outcome for cases in operators.values() for name, outcome in cases.items()}


def _sample() -> list[str]:
    """A case of every third operator, of those that come out as they may."""
    _, operators = read_record()
    allowed = [
        [name for name, outcome in cases.items() if outcome.kind in ALLOWED]
        for cases in operators.values()
    ]
    return [names[len(names) // 2] for names in allowed if names][::3]


def _worse(cases: Sequence[Case], jobs: int = 1) -> list[str]:
    recorded = _recorded()
    return [
        problem
        for _, case, outcome in run_cases([(run_ingot, case) for case in cases], jobs=jobs)
        if (problem := worse_than_recorded(case.name, outcome, recorded.get(case.name)))
    ]


def test_a_sample_of_the_suite_comes_out_as_recorded(cases: dict[str, Case]) -> None:
    worse = _worse([cases[name] for name in _sample() if name in cases])
    assert not worse, "\n".join(worse)


@pytest.mark.slow
def test_the_whole_suite_comes_out_as_recorded(cases: dict[str, Case]) -> None:
    worse = _worse(list(cases.values()))
    assert not worse, "\n".join(worse)


def test_the_page_of_operators_is_what_the_record_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_page(*read_record()), (
        "docs/operators.md is out of date; write it with: "
        "python -m benchmarks.conformance --markdown"
    )
