"""Sizes are written shortly and read back exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.targets.cpu.microarchitecture.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1000, "1000"), (32 << 10, "32K"), (1 << 20, "1M"), (1280 << 10, "1280K")],
)
def test_the_shortest_form(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 1 << 30))
def test_what_is_written_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5M", "1G", "32 K", "many"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size: write 32K"):
        parse_size(text)
