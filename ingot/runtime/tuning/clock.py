"""How fast the CPUs' clocks may go."""

from __future__ import annotations

from collections.abc import Iterator

from ingot.runtime.tuning.finding import Finding, Machine, costs, good, unknown

_CPU = "sys/devices/system/cpu"
_NO_TURBO = f"{_CPU}/intel_pstate/no_turbo"
_BOOST = f"{_CPU}/cpufreq/boost"
_CLOCK_SOURCE = "sys/devices/system/clocksource/clocksource0/current_clocksource"
# Drivers whose governor "powersave" follows the load: there a preference decides.
_FOLLOWS_LOAD = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
_SAVING = ("power", "balance_power")
_SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")


def governor(machine: Machine) -> Iterator[Finding]:
    """Who decides on the clock of the CPUs that the process may use."""
    name = "frequency governor"
    governors = dict(machine.cpu_files("cpufreq/scaling_governor"))
    if not governors:
        yield unknown(name, "no cpufreq here: firmware or, of a virtual machine, the host decides")
        return
    drivers = dict(machine.cpu_files("cpufreq/scaling_driver"))
    preferences = dict(machine.cpu_files("cpufreq/energy_performance_preference"))
    saving = [
        cpu
        for cpu, kind in governors.items()
        if kind == "powersave"
        and (drivers.get(cpu) not in _FOLLOWS_LOAD or preferences.get(cpu) in _SAVING)
    ]
    found = ", ".join(sorted(set(governors.values())))
    if saving:
        yield costs(
            name, "much", f"{found}; it holds {len(saving)} of {len(governors)} CPUs down",
            "have the clock go up at once",
            f"echo performance | sudo tee /{_CPU}/cpu*/cpufreq/scaling_governor",
        )  # fmt: skip
    elif set(governors.values()) <= {"performance"}:
        yield good(name, found)
    else:
        yield costs(
            name, "little", f"{found}: the clock goes up only after work has begun",
            "for steady latency have it stay up",
            f"echo performance | sudo tee /{_CPU}/cpu*/cpufreq/scaling_governor",
        )  # fmt: skip


def clock_limit(machine: Machine) -> Iterator[Finding]:
    """Whether the clock is limited below what the CPU can."""
    name = "clock limit"
    limits = dict(machine.cpu_files("cpufreq/scaling_max_freq"))
    most = dict(machine.cpu_files("cpufreq/cpuinfo_max_freq"))
    held = {cpu: int(limits[cpu]) for cpu in limits if int(limits[cpu]) < int(most.get(cpu, 0))}
    if not limits:
        yield unknown(name, "no cpufreq here")
    elif held:
        cpu, limit = min(held.items(), key=lambda item: item[1])
        yield costs(
            name, "much", f"{limit // 1000} MHz, and CPU {cpu} can {int(most[cpu]) // 1000}",
            "lift the limit",
            f"cat /{_CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq | "
            f"sudo tee /{_CPU}/cpu*/cpufreq/scaling_max_freq",
        )  # fmt: skip
    else:
        yield good(name, "none below the CPU's own")


def turbo(machine: Machine) -> Iterator[Finding]:
    """Whether the CPU may go beyond its base clock."""
    name = "turbo"
    for path, off, command in (
        (_NO_TURBO, 1, f"echo 0 | sudo tee /{_NO_TURBO}"),
        (_BOOST, 0, f"echo 1 | sudo tee /{_BOOST}"),
    ):
        if machine.has(path):
            if machine.number(path) == off:
                yield costs(name, "much", "switched off", "switch it on", command)
            else:
                yield good(name, "on")
            return
    yield unknown(name, "the system does not say (no intel_pstate/no_turbo and no cpufreq/boost)")


def clock_source(machine: Machine) -> Iterator[Finding]:
    """Whether reading the time is cheap: profiles and figures read it twice an inference."""
    name = "clock source"
    source = machine.read(_CLOCK_SOURCE)
    if source in _SLOW_CLOCKS:
        yield costs(
            name, "little", f"{source}: reading the time takes about a microsecond",
            "use the CPU's counter, where the kernel offers it",
            f"echo tsc | sudo tee /{_CLOCK_SOURCE}",
        )  # fmt: skip
    else:
        yield good(name, source)
