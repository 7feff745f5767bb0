"""Errors are one line each, whatever names are in them."""

from __future__ import annotations

import pytest

from ingot.errors import LONGEST_MESSAGE, ArtifactError, IngotError, InputError


@pytest.mark.parametrize("kind", [IngotError, ArtifactError, InputError])
def test_a_message_is_one_line(kind: type[IngotError]) -> None:
    assert str(kind("no input is called a\nb\r\nc")) == "no input is called a\\nb\\nc"
    assert str(kind("as it is")) == "as it is"
    assert str(kind()) == ""


def test_a_message_is_one_line_of_bounded_length():
    assert str(IngotError("a\nb\r\nc\u2028d")) == r"a\nb\nc\nd"
    long = str(IngotError(f"no tensor {'n' * 70_000}\n" * 9))
    assert long.startswith("no tensor nnn") and long.endswith("…")
    assert len(long) == LONGEST_MESSAGE + 1
