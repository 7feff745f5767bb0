"""What the system says of this process."""

from __future__ import annotations

from pathlib import Path


def resident_memory(root: Path = Path("/")) -> tuple[int, int]:
    """Returns the resident memory of this process, now and the most it has had, in bytes.

    Args:
        root: Where ``/proc`` is.

    Raises:
        OSError: ``/proc`` is not mounted, or says nothing of memory.
    """
    path = root / "proc/self/status"
    fields = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        fields[name] = value
    if "VmRSS" not in fields or "VmHWM" not in fields:
        raise OSError(f"{path} says nothing of memory")
    now, peak = (int(fields[name].removesuffix("kB")) * 1024 for name in ("VmRSS", "VmHWM"))
    # The kernel sums up what threads hold back now and then: the peak may lag a little.
    return now, max(now, peak)
