"""The recorded outcomes of the conformance suite, and the page of operators made of them."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.conformance_outcomes import ALLOWED, PASSED, Kind, Outcome

RECORD = Path(__file__).resolve().parents[1] / "tests" / "conformance" / "expectations.json"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
HOW_TO_RECORD = "record it with: python -m benchmarks.conformance --record --case"

_HEADINGS, _RULE = ["operator", "passed", "how"], ["---", "---", "---"]
# What a refusal says besides the reason: where, and what to do.
_AROUND = re.compile(
    r"^node '[^']*'( and \d+ more nodes)?:? ?(\(\w+\): )?|; replace it in the model.*"
    r"|; to compile it all the same.*|; please report this.*|\(opset \d+\) | to the CPU"
    r"|^test_\w+ (?=cannot)|^\[ONNXRuntimeError\] : "
)

# Characters of a reason on the page.
_MOST_SHOWN = 140

# By operator, then by case.
Outcomes = dict[str, dict[str, Outcome]]

_PAGE = """# Operators

What becomes of each operator, by ONNX's own conformance cases ({cases} of onnx {version}):
*compiled* is code of Ingot's own, *by region* is run by ONNX Runtime inside of the same artifact
([how](architecture.md)), *refused* says why, and *as ONNX Runtime* are results that are those of
ONNX Runtime where it and the suite differ. Generated from the recorded outcomes by

    python -m benchmarks.conformance --markdown

{totals}

{table}
"""


def read_record(path: Path = RECORD) -> tuple[str, Outcomes]:
    """Returns the version of onnx that was recorded, and the outcomes."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    outcomes = {
        operator: {name: _outcome(text) for name, text in cases.items()}
        for operator, cases in raw["operators"].items()
    }
    return raw["onnx"], outcomes


def write_record(version: str, outcomes: Outcomes, path: Path = RECORD) -> None:
    """Writes a record: one line per case, in order."""
    operators = {
        operator: {name: _text(outcome) for name, outcome in sorted(cases.items())}
        for operator, cases in sorted(outcomes.items())
    }
    content = json.dumps({"onnx": version, "operators": operators}, indent=1, ensure_ascii=False)
    path.write_text(content + "\n", encoding="utf-8")


def _outcome(text: str) -> Outcome:
    kind, _, reason = text.partition(": ")
    return Outcome(Kind(kind), reason)


def _text(outcome: Outcome) -> str:
    return f"{outcome.kind.value}: {outcome.reason}" if outcome.reason else outcome.kind.value


def worse_than_recorded(case: str, outcome: Outcome, recorded: Outcome | None) -> str | None:
    """Returns in one line what is wrong with a case's outcome, or None where nothing is.

    Args:
        case: The case's name.
        outcome: What came of it.
        recorded: What the record has of it, if anything.
    """
    if outcome.kind not in ALLOWED:
        return f"{case}: {_text(outcome)}"
    if recorded is None:
        return f"{case}: {_text(outcome)}, and no expectation; {HOW_TO_RECORD} {case}"
    ranks = list(Kind)
    if ranks.index(outcome.kind) > ranks.index(recorded.kind):
        return f"{case}: {_text(outcome)}, but {recorded.kind.value} is recorded"
    return None


def render_page(version: str, outcomes: Outcomes) -> str:
    """Returns the page of operators."""
    rows = [
        [operator, f"{_passed(cases)} of {len(cases)}", _summary(cases)]
        for operator, cases in sorted(outcomes.items())
    ]
    kinds = collections.Counter(o.kind for cases in outcomes.values() for o in cases.values())
    totals = ", ".join(f"{kinds[kind]} {kind.value}" for kind in Kind if kinds[kind])
    return _PAGE.format(
        version=version,
        cases=sum(kinds.values()),
        totals=f"In all: {totals}.",
        table="\n".join(f"| {' | '.join(row)} |" for row in [_HEADINGS, _RULE, *rows]),
    )


def write_page() -> None:
    """Writes the page of operators from the record."""
    PAGE.write_text(render_page(*read_record()), encoding="utf-8")


def _passed(cases: Mapping[str, Outcome]) -> int:
    return sum(outcome.kind in PASSED for outcome in cases.values())


def _summary(cases: Mapping[str, Outcome]) -> str:
    """How an operator runs, in a few words; of refusals the most frequent reason."""
    kinds = collections.Counter(outcome.kind for outcome in cases.values())
    if kinds[Kind.COMPILED] == len(cases):
        return "compiled"
    parts = []
    if kinds[Kind.COMPILED]:
        parts.append(f"{kinds[Kind.COMPILED]} compiled")
    for kind in list(Kind)[1:]:
        if kinds[kind]:
            reasons = collections.Counter(o.reason for o in cases.values() if o.kind is kind)
            reason = _short(reasons.most_common(1)[0][0])
            name = "by region" if kind is Kind.REGION else kind.value
            parts.append(f"{kinds[kind]} {name}" + (f": {reason}" if reason else ""))
    return "; ".join(parts)


def _short(reason: str) -> str:
    """A reason without the node's name and advice, fit for a cell; of several the first."""
    first = _AROUND.sub("", reason).split("; ")[0]
    first = first if len(first) <= _MOST_SHOWN else first[:_MOST_SHOWN].rsplit(" ", 1)[0] + " …"
    return first.replace("|", "\\|").replace("<", "\\<").replace("[", "\\[")
