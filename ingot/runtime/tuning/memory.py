"""How much memory there is, and how it is paged."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingot.runtime.cgroups import control_groups
from ingot.runtime.tuning.finding import Finding, Machine, costs, good

_HUGE_PAGES = "sys/kernel/mm/transparent_hugepage/enabled"
_OVERCOMMIT = "proc/sys/vm/overcommit_memory"
_SWAPPINESS = "proc/sys/vm/swappiness"
_NEVER_MORE = 2
_FULL = 0.9
# Version 1 states no limit as the largest multiple of a page.
_NO_LIMIT = 1 << 62
# By version: the limit, what is used, and what counts that the limit was met.
_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.failcnt"),
    2: ("memory.max", "memory.current", "memory.events"),
}


def memory_limit(machine: Machine) -> Iterator[Finding]:
    """Whether control groups leave little memory: then the system reclaims, or kills."""
    name = "memory limit"
    nearest: tuple[float, str] | None = None
    for group in control_groups("memory", machine.root):
        limit_file, used_file, met_file = _FILES[group.version]
        for folder in group.folders:
            if not (folder / limit_file).exists():
                continue
            stated = (folder / limit_file).read_text(encoding="ascii").strip()
            if stated == "max" or int(stated) >= _NO_LIMIT:
                continue
            used = int((folder / used_file).read_text(encoding="ascii"))
            used -= _reclaimable((folder / "memory.stat").read_text(encoding="ascii"))
            met = _times_met((folder / met_file).read_text(encoding="ascii"))
            found = f"{_gibibytes(used)} of {_gibibytes(int(stated))} used"
            share = used / max(int(stated), 1)
            if met:
                found += f"; met {met} times"
            if nearest is None or share > nearest[0]:
                nearest = (share, found)
    if nearest is None:
        yield good(name, "none")
    elif nearest[0] < _FULL:
        yield good(name, nearest[1])
    else:
        yield costs(
            name, "much", f"{nearest[1]}: the system reclaims pages, and kills when none is left",
            "allow more memory, or bound each session's (Session(path, memory_limit=...))",
            "docker update --memory=N CONTAINER (Kubernetes: resources.limits.memory)",
        )  # fmt: skip


def _times_met(text: str) -> int:
    """How often the limit was met; version 2 says it in a line of its own."""
    counted = re.search(r"^(?:max )?(\d+)$", text.strip(), re.MULTILINE)
    return int(counted.group(1)) if counted else 0


def _reclaimable(text: str) -> int:
    """Bytes of files that were read and are not in use: given up before anything waits."""
    fields = dict(line.split(None, 1) for line in text.splitlines() if " " in line)
    return int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))


def swap(machine: Machine) -> Iterator[Finding]:
    """Whether memory is written to disk."""
    name = "swap"
    memory = machine.fields("proc/meminfo")
    total, free = (_kibibytes(memory.get(field, "0 kB")) for field in ("SwapTotal", "SwapFree"))
    if not total:
        yield good(name, "none")
        return
    used = total - free
    swappiness = machine.number(_SWAPPINESS)
    found = f"{_gibibytes(used)} of {_gibibytes(total)} used, vm.swappiness={swappiness}"
    if used:
        yield costs(
            name, "much", f"{found}: an inference may wait for the disk",
            "free memory, and have the system keep what runs",
            "sudo sysctl vm.swappiness=1 && sudo swapoff -a && sudo swapon -a",
        )  # fmt: skip
    else:
        yield good(name, found)


def overcommit(machine: Machine) -> Iterator[Finding]:
    """Whether the system promises no more memory than it has: then mapping may fail."""
    name = "overcommit"
    mode = machine.number(_OVERCOMMIT)
    if mode != _NEVER_MORE:
        yield good(name, f"vm.overcommit_memory={mode}")
        return
    memory = machine.fields("proc/meminfo")
    promised, limit = (_kibibytes(memory[field]) for field in ("Committed_AS", "CommitLimit"))
    yield costs(
        name, "much" if promised > _FULL * limit else "little",
        f"vm.overcommit_memory=2, and {_gibibytes(promised)} of {_gibibytes(limit)} are promised: "
        "loading may fail while memory is free",
        "let the system judge", "sudo sysctl vm.overcommit_memory=0",
    )  # fmt: skip


def huge_pages(machine: Machine) -> Iterator[Finding]:
    """Whether memory can come in pages of 2 MiB, which spares lookups of addresses."""
    name = "transparent huge pages"
    stated = machine.read(_HUGE_PAGES)
    chosen = re.search(r"\[(\w+)\]", stated)
    if chosen is not None and chosen.group(1) == "never":
        yield costs(
            name, "little", "never: Session(huge_pages=True) has none to use",
            "let those have them who ask", f"echo madvise | sudo tee /{_HUGE_PAGES}",
        )  # fmt: skip
    else:
        yield good(name, chosen.group(1) if chosen is not None else stated)


def _kibibytes(text: str) -> int:
    return int(text.split()[0]) * 1024


def _gibibytes(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"
