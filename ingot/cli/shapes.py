"""Parsing of ``--shape x=1x3x224x224``."""

from __future__ import annotations

from collections.abc import Iterable

from ingot.errors import UsageError


def parse_shapes(options: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Returns shapes by input name.

    Raises:
        UsageError: An option is not ``NAME=DxDxD``.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for option in options:
        name, equals, text = option.rpartition("=")
        try:
            shapes[name] = tuple(int(size) for size in text.split("x"))
        except ValueError:
            equals = ""
        if not (equals and name):
            raise UsageError(f"--shape {option!r} is not NAME=SIZES, such as image=1x3x224x224")
    return shapes
