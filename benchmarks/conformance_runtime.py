"""Runs an artifact as a deployed machine does: nothing of the compile side is imported here."""

from __future__ import annotations

from typing import Any

from benchmarks.conformance_outcomes import Kind, Outcome, one_line


def run_artifact(request: tuple[str, dict[str, Any]]) -> list[Any] | Outcome:
    """Returns the outputs of an artifact on inputs, in the model's order, or why there are none."""
    from ingot.errors import IngotError
    from ingot.runtime.session import Session

    path, inputs = request
    try:
        with Session(path) as session:
            return list(session.run(inputs).values())
    except IngotError as error:
        return Outcome(Kind.REFUSED, one_line(error))
    except Exception as error:  # noqa: BLE001  # what it is, is the outcome
        return Outcome(Kind.FOREIGN, f"{type(error).__name__}: {one_line(error)}")
