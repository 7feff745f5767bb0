"""Sizes of caches as they are written: ``32K``, ``1M``, or a number of bytes."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}
_SIZE = re.compile(r"(\d+)([KM]?)")


def parse_size(text: str) -> int:
    """Returns the number of bytes.

    Raises:
        ValueError: The text is not a number, with K or M behind it or without.
    """
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None:
        raise ValueError(f"{text!r} is no size: write 32K, 1M, or a number of bytes")
    return int(match[1]) * _UNITS[match[2]]


def format_size(size: int) -> str:
    """Returns the shortest form that :func:`parse_size` reads as so many bytes."""
    for unit in ("M", "K"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)
