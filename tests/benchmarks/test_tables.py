"""Tables are Markdown whose columns are aligned."""

from __future__ import annotations

import pytest

from benchmarks.tables import markdown_table, names


def test_text_stands_left_and_numbers_right() -> None:
    assert markdown_table(["model", "ms"], [["a", "10.5"], ["longer", "2"]]).splitlines() == [
        "| model  |   ms |",
        "| ------ | ---: |",
        "| a      | 10.5 |",
        "| longer |    2 |",
    ]


def test_more_columns_may_hold_text() -> None:
    table = markdown_table(["a", "by", "ms"], [["x", "y", "1"]], text_columns=2)
    assert table.splitlines() == ["| a | by | ms |", "| - | -- | -: |", "| x | y  |  1 |"]


@pytest.mark.parametrize(
    ("text", "found"), [("a,b", ("a", "b")), (" a , b,", ("a", "b")), ("", ())]
)
def test_names_are_separated_by_commas(text: str, found: tuple[str, ...]) -> None:
    assert names(text) == found
