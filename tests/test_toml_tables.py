"""TOML from anywhere is parsed, or refused before parsing it would take minutes."""

from __future__ import annotations

import pytest

from ingot.onnx_graph.isolation import run_isolated
from ingot.toml_tables import parse_toml

_LENGTH = 300_000


def test_tables_are_parsed() -> None:
    text = 'a.b.c = 1\n[x."y.z"]\nlist = ["' + "." * 100 + '", 2.5]\n'
    assert parse_toml(text) == {"a": {"b": {"c": 1}}, "x": {"y.z": {"list": ["." * 100, 2.5]}}}


@pytest.mark.parametrize(
    "text",
    ["a" + ".a" * _LENGTH + " = 1", "x = " + "y" * _LENGTH, "x" * _LENGTH, "a . " * _LENGTH,
     "a = " + "[" * _LENGTH, "a" + " " * _LENGTH, "a = 1" + " .b" * _LENGTH, "a = [1,"],
    ids=["parts", "value", "key", "spaces", "lists", "blanks", "words", "cut"],
)  # fmt: skip
def test_what_is_none_is_refused_soon(text: str) -> None:
    """In a process of its own, which does not outlive what would be minutes."""

    def parse() -> bytes:
        try:
            parse_toml(text)
        except ValueError:
            return b"refused"
        return b"parsed"

    assert run_isolated(parse, memory_bytes=2 << 30, seconds=60) == b"refused"
