"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

# What is being done, how much of it is done, and of how much (0 where that is not known).
Progress: TypeAlias = Callable[[str, int, int], None]


def no_progress(what: str, done: int, total: int) -> None:
    """A ``Progress`` that tells nobody."""
