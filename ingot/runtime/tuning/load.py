"""Who else uses the machine."""

from __future__ import annotations

from collections.abc import Iterator

from ingot.runtime.tuning.finding import Finding, Machine, costs, good

_PRESSURE = "proc/pressure/cpu"
_SHARE_OF_BUSY = 0.25
_STEAL = 7  # of the columns of /proc/stat, beginning with "user"
_COLUMNS = 8  # what comes behind is in "user" already
_SHARE_OF_STEAL = 0.01
_PERCENT_OF_WAITING = 5.0


def busy(machine: Machine) -> Iterator[Finding]:
    """Whether other work waits for the same CPUs."""
    name = "busy machine"
    load, cpus = float(machine.read("proc/loadavg").split()[0]), len(machine.affinity)
    found = f"load average {load:g} on {cpus} CPUs"
    waiting = _waiting_percent(machine)
    if waiting is not None:
        found += f"; something waited for a CPU {waiting:g} % of the last 10 s"
    if load > _SHARE_OF_BUSY * cpus or (waiting or 0.0) > _PERCENT_OF_WAITING:
        yield costs(
            name, "much" if load > cpus else "some", found,
            "see who it is, and keep CPUs for the model",
            "ps -eo pcpu,pid,comm --sort=-pcpu | head",
        )  # fmt: skip
    else:
        yield good(name, found)


def _waiting_percent(machine: Machine) -> float | None:
    """How much of the last 10 s something was ready to run and had no CPU; None if not told."""
    if not machine.has(_PRESSURE):
        return None
    try:
        some = machine.fields(_PRESSURE)["some"]
    except OSError:
        return None  # the kernel was started with psi=0
    return float(dict(part.split("=") for part in some.split())["avg10"])


def steal(machine: Machine) -> Iterator[Finding]:
    """Whether the host runs others while this virtual machine has work."""
    name = "steal time"
    before = _cpu_times(machine)
    machine.pause()
    after = _cpu_times(machine)
    passed = [later - earlier for earlier, later in zip(before, after, strict=True)]
    when = "now"
    if not sum(passed):
        passed, when = after, "since the machine started"
    share = passed[_STEAL] / max(sum(passed), 1)
    found = f"{100 * share:.1f} % {when}"
    if share > _SHARE_OF_STEAL:
        yield costs(
            name, "much", f"{found}: the host runs others while this machine has work",
            "ask for a machine whose CPUs are its own; judge by ratios, not by times",
        )  # fmt: skip
    else:
        yield good(name, found)


def _cpu_times(machine: Machine) -> list[int]:
    """Ticks of all CPUs by what they did."""
    times = machine.read("proc/stat").splitlines()[0].split()[1 : 1 + _COLUMNS]
    if len(times) < _COLUMNS:
        raise ValueError("/proc/stat has no column of steal time")
    return [int(each) for each in times]
