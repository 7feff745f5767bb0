"""JSON as dataclasses: what types say is held to."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest

from ingot.runtime.typed_json import decode


@dataclasses.dataclass(frozen=True)
class Record:
    """A pair and a choice."""

    pair: tuple[int, int]
    kind: Literal["sum", "max"]


def test_pairs_and_choices_are_read() -> None:
    record = decode(Record, {"pair": [1, 2], "kind": "max"})
    assert record == Record((1, 2), "max")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"pair": [1, 2, 3]}, "a list of 3 values, not 2, in 'record/pair'"),
        ({"pair": [1]}, "a list of 1 values, not 2, in 'record/pair'"),
        ({"pair": [1, "2"]}, "a value that is not an integer in 'record/pair'"),
        ({"kind": "mean"}, "none of sum, max in 'record/kind'"),
        ({"kind": ["sum"]}, "none of sum, max in 'record/kind'"),
    ],
)
def test_others_are_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode(Record, {"pair": [1, 2], "kind": "sum", **fields}, "record")
