"""How many CPUs this process may keep busy: its affinity, and its control groups' quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

from ingot.runtime.cgroups import ControlGroup, control_groups

_ROOT = Path("/")


def usable_cpus(root: Path = _ROOT) -> int:
    """Returns how many threads can compute at once without being throttled, at least one.

    It is the number of CPUs of the process's affinity, or the CPU quota of its control groups
    rounded up where that is less: containers are limited by a quota and see every CPU. A quota that
    cannot be read limits nothing.

    Args:
        root: Where ``/proc`` and ``/sys`` are.
    """
    cpus = len(os.sched_getaffinity(0))
    try:
        quota = cpu_quota(root)
    except (OSError, ValueError):
        return cpus
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Returns the CPUs' worth of time that this process's control groups allow it, None if any.

    The least of all nested groups counts (``cpu.max`` of version 2, ``cpu.cfs_quota_us`` of
    version 1).

    Args:
        root: Where ``/proc`` and ``/sys`` are.

    Raises:
        OSError: The groups cannot be read.
        ValueError: They say something that is no quota.
    """
    quotas = [quota for group in control_groups("cpu", root) for quota in _quotas(group)]
    return min(quotas, default=None)


def _quotas(group: ControlGroup) -> list[float]:
    if group.version == 2:
        stated = [tuple(line.split()) for line in group.read("cpu.max")]
    else:
        # Both files are in every folder that has one.
        stated = list(
            zip(group.read("cpu.cfs_quota_us"), group.read("cpu.cfs_period_us"), strict=True)
        )
    return [int(quota) / int(period) for quota, period in stated if quota not in ("max", "-1")]
