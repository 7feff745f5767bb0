"""Whether a server has room for its connections."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingot.runtime.tuning.finding import Finding, Machine, costs, good, unknown

# What a server of images wants: connections that wait, and a few of its requests in each buffer.
_SYSCTLS = {
    "net.core.somaxconn": (1024, "connections that wait to be accepted"),
    "net.ipv4.tcp_max_syn_backlog": (1024, "connections that are being opened"),
    "net.core.rmem_max": (4 << 20, "bytes of the largest receive buffer"),
    "net.core.wmem_max": (4 << 20, "bytes of the largest send buffer"),
}
_OPEN_FILES = 4096


def buffers(machine: Machine) -> Iterator[Finding]:
    """Queues and buffers of the network; they matter to servers alone."""
    for key, (least, meaning) in _SYSCTLS.items():
        path = "proc/sys/" + key.replace(".", "/")
        if not machine.has(path):
            yield unknown(key, "not in this network namespace")
            continue
        value = machine.number(path)
        if value < least:
            yield costs(
                key, "little", f"{value} {meaning}", "when serving, raise it",
                f"sudo sysctl {key}={least}",
            )  # fmt: skip
        else:
            yield good(key, f"{value} {meaning}")


def open_files(machine: Machine) -> Iterator[Finding]:
    """How many connections and files the process may have open."""
    name = "open files"
    limits = machine.read("proc/self/limits")
    stated = re.search(r"^Max open files\s+(\w+)", limits, re.MULTILINE)
    if stated is None:
        yield unknown(name, "/proc/self/limits does not say")
    elif stated.group(1) != "unlimited" and int(stated.group(1)) < _OPEN_FILES:
        yield costs(
            name, "little", f"{stated.group(1)} at most", "when serving, raise it",
            f"ulimit -n {_OPEN_FILES}",
        )  # fmt: skip
    else:
        yield good(name, f"{stated.group(1)} at most")
