"""TOML that may come from anywhere: text whose parsing would take long is refused before it."""

from __future__ import annotations

import re
import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The parser looks at all parts before each part of a key ``a.b.c``. The look behind has the search
# begin once for each part: its time grows with the text, not with the square of it.
_LONG_KEY = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]+[ \t]*\.[ \t]*){64}")


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML.

    Raises:
        ValueError: It is none, nested too deep, or has a key of more parts than anyone writes.
    """
    if _LONG_KEY.search(text):
        raise ValueError("it is nested too deep")
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return tables
