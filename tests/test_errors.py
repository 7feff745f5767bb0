"""Errors are one line each, whatever names are in them."""

from __future__ import annotations

import pytest

from ingot.errors import ArtifactError, IngotError, InputError


@pytest.mark.parametrize("kind", [IngotError, ArtifactError, InputError])
def test_a_message_is_one_line(kind: type[IngotError]) -> None:
    assert str(kind("no input is called a\nb\r\nc")) == "no input is called a\\nb\\nc"
    assert str(kind("as it is")) == "as it is"
    assert str(kind()) == ""
