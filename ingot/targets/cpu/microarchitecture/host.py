"""The caches of this machine, as the kernel tells them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ingot.targets.cpu.microarchitecture.sizes import parse_size

_CPU = Path("/sys/devices/system/cpu/cpu0")


def cache_shares(cpu: Path = _CPU) -> dict[int, int]:
    """Returns a core's share of each level of data cache, in bytes, as far as the kernel says it.

    Args:
        cpu: The folder of one of the machine's CPUs.
    """
    found: dict[int, tuple[int, int]] = {}
    for level, size, index in _data_caches(cpu):
        # Virtual machines leave out some of it.
        with contextlib.suppress(OSError, ValueError):
            sharers = (index / "shared_cpu_list").read_text(encoding="ascii").strip()
            found[level] = (size, _count(sharers))
    # Threads of one core share the first level: what is left counts cores.
    _, threads = found.get(1, (0, 1))
    return {level: size // max(1, sharers // threads) for level, (size, sharers) in found.items()}


def cache_bytes(level: int, cpu: Path = _CPU) -> int:
    """Returns the size of a level of data cache that one CPU sees, in bytes; 0 if it has none."""
    return next((size for found, size, _ in _data_caches(cpu) if found == level), 0)


def _data_caches(cpu: Path) -> Iterator[tuple[int, int, Path]]:
    """Yields level, size and folder of each cache that holds data, as far as they are told."""
    for index in sorted(cpu.glob("cache/index*")):
        try:
            kind, level, size = (
                (index / name).read_text(encoding="ascii").strip()
                for name in ("type", "level", "size")
            )
            found = int(level), parse_size(size)
        except (OSError, ValueError):
            continue
        if kind != "Instruction":
            yield *found, index


def _count(cpus: str) -> int:
    """Counts the CPUs of a list such as ``0-3,8``."""
    total = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total
