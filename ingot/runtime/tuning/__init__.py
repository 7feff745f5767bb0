"""What on a machine costs inference speed, and what to do: looked at, never changed.

``ingot doctor --tune`` prints it; with the base install alone, ``python -m ingot.runtime.tuning``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ingot.runtime.tuning import clock, load, memory, network, processors
from ingot.runtime.tuning.finding import Finding, Machine, unknown

__all__ = ["CHECKS", "Finding", "Machine", "tune"]

CHECKS: dict[str, Callable[[Machine], Iterator[Finding]]] = {
    "CPU quota": processors.quota,
    "memory limit": memory.memory_limit,
    "busy machine": load.busy,
    "steal time": load.steal,
    "swap": memory.swap,
    "frequency governor": clock.governor,
    "clock limit": clock.clock_limit,
    "turbo": clock.turbo,
    "NUMA": processors.numa,
    "threads in the environment": processors.threads_in_environment,
    "SMT": processors.smt,
    "transparent huge pages": memory.huge_pages,
    "overcommit": memory.overcommit,
    "clock source": clock.clock_source,
    "network": network.buffers,
    "open files": network.open_files,
}

_ORDER = ("much", "some", "little")


def tune(machine: Machine | None = None) -> list[Finding]:
    """Looks at everything.

    Args:
        machine: Where to look; by default this machine.

    Returns:
        What costs speed, the most first; then what cannot be told; then what is good.
    """
    machine = Machine() if machine is None else machine
    found = [finding for name in CHECKS for finding in _checked(name, machine)]
    return sorted(found, key=_rank)


def _checked(name: str, machine: Machine) -> list[Finding]:
    try:
        return list(CHECKS[name](machine))
    except OSError as error:
        return [unknown(name, f"cannot be read: {error.filename}: {error.strerror}")]
    except (ValueError, KeyError, IndexError) as error:
        return [unknown(name, f"the system says what is not understood: {error}")]


def _rank(finding: Finding) -> int:
    if finding.cost is not None:
        return _ORDER.index(finding.cost)
    return len(_ORDER) + (finding.state == "good")
