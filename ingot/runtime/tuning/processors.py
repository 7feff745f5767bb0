"""Which CPUs the process may use: quota, siblings of a core, NUMA nodes, and threads asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ingot.runtime.cgroups import control_groups
from ingot.runtime.cpu_quota import cpu_quota
from ingot.runtime.tuning.finding import (
    Finding,
    Machine,
    as_list,
    costs,
    cpu_list,
    good,
    unknown,
)

_NODES = "sys/devices/system/node"
_BALANCING = "proc/sys/kernel/numa_balancing"
_SHARE_OF_PERIODS = 0.01
# Each sets how many threads some library starts in this process, beside Ingot's.
_THREAD_COUNTS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS", "TVM_NUM_THREADS",
)  # fmt: skip
_PINNING = ("OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "TVM_BIND_THREADS")
_NOT_PINNING = ("", "0", "false", "disabled", "none")


def quota(machine: Machine) -> Iterator[Finding]:
    """Whether control groups hold the process below the CPUs that it sees."""
    name = "CPU quota"
    allowed, seen = cpu_quota(machine.root), len(machine.affinity)
    if allowed is None:
        yield good(name, f"none; {seen} CPUs may be used")
        return
    stopped, periods = _stopped(machine)
    found = f"{allowed:g} CPUs of {seen}"
    if stopped:
        found += f"; used up, and stopped until its end, in {stopped} of {periods} periods"
    throttled = stopped > _SHARE_OF_PERIODS * periods
    if throttled or allowed < seen:
        threads = max(1, min(seen, math.ceil(allowed)))
        yield costs(
            name, "much" if throttled else "little", found,
            f"use no more than {threads} threads in all, other libraries' too, or allow more CPUs",
            "docker update --cpus=N CONTAINER (Kubernetes: resources.limits.cpu)",
        )  # fmt: skip
    else:
        yield good(name, found)


def _stopped(machine: Machine) -> tuple[int, int]:
    """In how many periods the process's own group was stopped, and of how many."""
    for group in control_groups("cpu", machine.root):
        for text in group.read("cpu.stat"):
            fields = dict(line.split(None, 1) for line in text.splitlines() if " " in line)
            if "nr_throttled" in fields:
                return int(fields["nr_throttled"]), int(fields["nr_periods"])
    return 0, 0


def smt(machine: Machine) -> Iterator[Finding]:
    """Whether CPUs that the process may use share cores."""
    name = "SMT"
    siblings = {
        cpu: cpu_list(text) & machine.affinity
        for cpu, text in machine.cpu_files("topology/thread_siblings_list")
    }
    if not siblings:
        yield unknown(name, "the system does not say which CPUs share a core")
        return
    firsts = frozenset(min(shared) for shared in siblings.values())
    if len(firsts) == len(siblings):
        yield good(name, f"{len(firsts)} cores, a thread each")
        return
    yield costs(
        name, "little", f"{len(siblings)} CPUs are {len(firsts)} cores",
        f"use one thread per core: Session(path, threads={len(firsts)}, cores={sorted(firsts)})",
        f"taskset -c {as_list(firsts)} COMMAND",
    )  # fmt: skip


def numa(machine: Machine) -> Iterator[Finding]:
    """Whether threads and memory may lie on different nodes."""
    name = "NUMA"
    nodes = {
        node: cpu_list(machine.read(f"{_NODES}/node{node}/cpulist"))
        for node in sorted(cpu_list(machine.read(f"{_NODES}/online")))
    }
    used = [node for node, cpus in nodes.items() if cpus & machine.affinity]
    if len(used) < 2:
        yield good(name, "the CPUs that may be used are on one node")
        return
    yield costs(
        name, "some", f"the CPUs that may be used are on {len(used)} nodes",
        "run a process per node, its memory beside it, or keep a session's threads on one: "
        'Session(path, cores="compact")',
        f"numactl --cpunodebind={used[0]} --membind={used[0]} COMMAND",
    )  # fmt: skip
    if machine.has(_BALANCING) and machine.number(_BALANCING):
        yield costs(
            "NUMA balancing", "little", "on: pages move between nodes while models run",
            "switch it off where processes are bound to nodes",
            "sudo sysctl kernel.numa_balancing=0",
        )  # fmt: skip


def threads_in_environment(machine: Machine) -> Iterator[Finding]:
    """Whether variables have other libraries compute on more threads than there are CPUs."""
    name = "threads in the environment"
    wrong = [*_too_many(machine, name), *_spinning(machine, name), *_pinned(machine, name)]
    if wrong:
        yield from wrong
        return
    set_ = [f"{v}={machine.environment[v]}" for v in _THREAD_COUNTS if v in machine.environment]
    yield good(name, "; ".join(set_) or "none is set")


def _too_many(machine: Machine, name: str) -> Iterator[Finding]:
    usable = len(machine.affinity)
    if (allowed := cpu_quota(machine.root)) is not None:
        usable = max(1, min(usable, math.ceil(allowed)))
    for variable in _THREAD_COUNTS:
        value = machine.environment.get(variable, "")
        first = value.split(",")[0].strip()
        if first.isdigit() and int(first) > usable:
            yield costs(
                name, "some", f"{variable}={value}, and {usable} CPUs may be used",
                "other libraries' threads take turns with Ingot's: ask for fewer",
                f"export {variable}={usable}",
            )  # fmt: skip


def _spinning(machine: Machine, name: str) -> Iterator[Finding]:
    waiting = machine.environment.get("OMP_WAIT_POLICY", "")
    if waiting.lower() == "active":
        yield costs(
            name, "some", f"OMP_WAIT_POLICY={waiting}: idle threads of OpenMP keep CPUs busy",
            "have them sleep", "export OMP_WAIT_POLICY=passive",
        )  # fmt: skip


def _pinned(machine: Machine, name: str) -> Iterator[Finding]:
    for variable in _PINNING:
        value = machine.environment.get(variable, "")
        if value.lower() not in _NOT_PINNING:
            yield costs(
                name, "some", f"{variable}={value} may bind the thread that calls Ingot to a CPU",
                "bind the whole process instead, if at all (taskset)", f"unset {variable}",
            )  # fmt: skip
