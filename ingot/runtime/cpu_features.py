"""Which instruction-set features this machine has, by the kernel's names for them."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def machine_architecture() -> str:
    """Returns the machine's architecture as the first part of a target triple names it."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@functools.cache
def machine_features() -> frozenset[str]:
    """Returns the features that the kernel reports for every core (``flags`` or ``Features``).

    A feature that only some cores have is left out: a thread may run on any of them.
    """
    per_core: list[frozenset[str]] = []
    for line in _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            per_core.append(frozenset(value.split()))
    return frozenset.intersection(*per_core) if per_core else frozenset()


def missing_features(required: Iterable[str]) -> list[str]:
    """Returns the required features that this machine lacks, sorted."""
    return sorted(set(required) - machine_features())
