"""Which instruction-set features this process may use, by the kernel's names for them."""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Iterable
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Of Linux on x86-64: the call that asks for a part of the extended state, and AMX's tiles' number.
_ARCH_PRCTL = 158
_REQUEST_STATE = 0x1023
_TILE_DATA = 18


@functools.cache
def machine_architecture() -> str:
    """Returns the machine's architecture as the first part of a target triple names it."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@functools.cache
def machine_features() -> frozenset[str]:
    """Returns the features that the kernel reports for every core (``flags`` or ``Features``).

    A feature that only some cores have is left out: a thread may run on any of them. So are AMX's
    (``amx_tile``, ...) where the kernel does not let this process use its tiles.
    """
    per_core: list[frozenset[str]] = []
    for line in _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            per_core.append(frozenset(value.split()))
    features = frozenset.intersection(*per_core) if per_core else frozenset()
    if "amx_tile" in features and not _may_use_tiles():
        features = frozenset(name for name in features if not name.startswith("amx"))
    return features


def _may_use_tiles() -> bool:
    """Asks the kernel for AMX's tiles, for all threads of this process.

    Each thread that uses them has 8 KiB more of state to be kept, so that Linux wants to be asked
    before: without it their first use ends the process.
    """
    refused: int = ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_STATE, _TILE_DATA)
    return refused == 0


def missing_features(required: Iterable[str]) -> list[str]:
    """Returns the required features that this machine lacks, sorted."""
    return sorted(set(required) - machine_features())
