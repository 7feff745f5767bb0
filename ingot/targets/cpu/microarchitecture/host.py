"""The caches of this machine, as the kernel tells them."""

from __future__ import annotations

from pathlib import Path

from ingot.targets.cpu.microarchitecture.sizes import parse_size

_CPU = Path("/sys/devices/system/cpu/cpu0")


def cache_shares(cpu: Path = _CPU) -> dict[int, int]:
    """Returns a core's share of each level of data cache, in bytes, as far as the kernel says it.

    Args:
        cpu: The folder of one of the machine's CPUs.
    """
    found: dict[int, tuple[int, int]] = {}
    for index in sorted(cpu.glob("cache/index*")):
        try:
            kind, level, size, sharers = (
                (index / name).read_text(encoding="ascii").strip()
                for name in ("type", "level", "size", "shared_cpu_list")
            )
            if kind != "Instruction":
                found[int(level)] = (parse_size(size), _count(sharers))
        except (OSError, ValueError):
            # Virtual machines leave out some of it.
            continue
    # Threads of one core share the first level: what is left counts cores.
    _, threads = found.get(1, (0, 1))
    return {level: size // max(1, sharers // threads) for level, (size, sharers) in found.items()}


def cache_bytes(level: int, cpu: Path = _CPU) -> int:
    """Returns the size of a level of data cache that one CPU sees, in bytes; 0 if it has none."""
    for index in sorted(cpu.glob("cache/index*")):
        try:
            if (index / "type").read_text(encoding="ascii").strip() != "Instruction" and int(
                (index / "level").read_text(encoding="ascii")
            ) == level:
                return parse_size((index / "size").read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return 0


def _count(cpus: str) -> int:
    """Counts the CPUs of a list such as ``0-3,8``."""
    total = 0
    for part in cpus.split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total
