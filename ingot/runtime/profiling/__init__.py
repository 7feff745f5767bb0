"""Profiling sessions; what a program calls is :mod:`ingot.runtime.profiling.api`.

It is loaded when something of it is first used: a session asks only whether anything is recorded,
and is not to take longer to import for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingot.runtime.profiling.api import *  # noqa: F403

__all__ = [  # noqa: F405
    "DEFAULT_LIMIT",
    "Counter",
    "Event",
    "Mark",
    "ProfilingSession",
    "Request",
    "Source",
    "Step",
    "Trace",
    "counter",
    "current",
    "current_request",
    "event",
    "mark",
    "metric",
    "read_trace",
    "register_source",
    "request",
    "sources",
    "start",
    "traced",
]


def __getattr__(name: str) -> Any:
    """Returns what the interface has of this name."""
    # Not of modules, which Python asks for before it imports them.
    if name not in __all__:
        raise AttributeError(name)
    return getattr(importlib.import_module("ingot.runtime.profiling.api"), name)
