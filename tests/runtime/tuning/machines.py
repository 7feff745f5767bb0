"""Trees of ``/proc`` and ``/sys`` as machines have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ingot.runtime.tuning import Machine

_CPU = "sys/devices/system/cpu"
_CPUFREQ = {
    "scaling_governor": "performance",
    "scaling_driver": "acpi-cpufreq",
    "scaling_max_freq": "3500000",
    "cpuinfo_max_freq": "3500000",
}
_MEMINFO = """\
MemTotal:       32000000 kB
SwapTotal:       8000000 kB
SwapFree:        8000000 kB
CommitLimit:    20000000 kB
Committed_AS:   10000000 kB
"""
_LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max open files            65536                1048576              files
"""
_GROUP = "sys/fs/cgroup/pod"


def server(root: Path, cpus: int = 4, **options: Any) -> Machine:
    """A machine on which nothing costs speed; a pause changes nothing.

    Args:
        root: An empty folder.
        cpus: How many it has, a core each.
        **options: Of the machine.
    """
    write(
        root,
        {
            "proc/self/cgroup": "0::/pod\n",
            "proc/self/mountinfo": "30 23 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            f"{_GROUP}/cpu.max": "max 100000",
            f"{_GROUP}/cpu.stat": "usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0",
            f"{_GROUP}/memory.max": "max",
            f"{_GROUP}/memory.current": f"{1 << 30}",
            f"{_GROUP}/memory.events": "low 0\nhigh 0\nmax 0\noom 0",
            f"{_GROUP}/memory.stat": "anon 1\ninactive_file 0\nactive_file 3",
            "proc/loadavg": "0.10 0.20 0.30 1/100 1234",
            "proc/pressure/cpu": "some avg10=0.50 avg60=0.10 avg300=0.00 total=9",
            "proc/stat": "cpu  100 0 100 9000 0 0 0 0 0 0\ncpu0 100 0",
            "proc/meminfo": _MEMINFO,
            "proc/sys/vm/swappiness": "60",
            "proc/sys/vm/overcommit_memory": "0",
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
            f"{_CPU}/intel_pstate/no_turbo": "0",
            "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
            "sys/devices/system/node/online": "0",
            "sys/devices/system/node/node0/cpulist": f"0-{cpus - 1}",
            "proc/sys/net/core/somaxconn": "4096",
            "proc/sys/net/ipv4/tcp_max_syn_backlog": "4096",
            "proc/sys/net/core/rmem_max": "8388608",
            "proc/sys/net/core/wmem_max": "8388608",
            "proc/self/limits": _LIMITS,
        },
    )
    for cpu in range(cpus):
        on_cpu(root, cpu, {f"cpufreq/{name}": text for name, text in _CPUFREQ.items()})
        on_cpu(root, cpu, {"topology/thread_siblings_list": str(cpu)})
    given = {"environment": {}, "affinity": frozenset(range(cpus)), "pause": lambda: None}
    return Machine(root, **{**given, **options})


def on_cpu(root: Path, cpu: int, contents: dict[str, str]) -> None:
    """Writes files of one CPU."""
    write(root / _CPU / f"cpu{cpu}", contents)


def write(root: Path, contents: dict[str, str]) -> None:
    """Writes files by their path."""
    for path, text in contents.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.rstrip("\n") + "\n")
