"""Electrical power: from RAPL's energy counters, else from a sensor of hwmon.

RAPL: <https://docs.kernel.org/power/powercap/powercap.html>; hwmon:
<https://docs.kernel.org/hwmon/sysfs-interface.html>.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ingot.runtime.statistics.figures import Unavailable

_ZONE = re.compile(r"intel-rapl:\d+")
_SUBZONE = re.compile(r"intel-rapl:\d+:\d+")
# No zone takes more: as often as this says, a counter has to be looked at to see each wrap.
_MOST_WATTS = 1000.0
_ENERGY_CHIP = "amd_energy"
# Chips that tell the power of something known; that of a GPU is among its own figures.
_POWER_CHIPS = {
    "power_meter": "the whole machine",
    "zenpower": "the CPU package",
    "fam15h_power": "the CPU package",
}


@dataclasses.dataclass(frozen=True)
class EnergyZone:
    """A counter of energy.

    Attributes:
        name: What it counts the energy of.
        path: The file, in microjoules.
        wraps_at: The microjoules at which it begins at zero again; None where it never does.
    """

    name: str
    path: Path
    wraps_at: int | None


class EnergyMeter:
    """Adds up the energy of zones since it was made.

    Attributes:
        source: What is read.
        scope: What it is the energy of.
        counted: The joules of all times that could be told.
    """

    def __init__(
        self,
        source: str,
        scope: str,
        zones: tuple[EnergyZone, ...],
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Looks at each zone for the first time.

        Raises:
            OSError: A counter cannot be read.
        """
        self.source, self.scope = source, scope
        self._zones, self._clock = zones, clock
        self.counted = 0.0
        self._looked_ns = clock()
        self._last = [_read(zone) for zone in zones]

    def joules(self) -> float | Unavailable:
        """Joules since the meter was made; unavailable once, where wraps may have been missed.

        Raises:
            OSError: A counter cannot be read any more.
        """
        now, values = self._clock(), [_read(zone) for zone in self._zones]
        elapsed, self._looked_ns = (now - self._looked_ns) / 1e9, now
        before, self._last = self._last, values
        limit = min(
            (zone.wraps_at / 1e6 / _MOST_WATTS for zone in self._zones if zone.wraps_at),
            default=None,
        )
        if limit is not None and elapsed > limit:
            return Unavailable(
                f"{self.source} was last read {elapsed:.0f} s ago and may have wrapped since: ask "
                f"at least every {limit:.0f} s"
            )
        for zone, earlier, later in zip(self._zones, before, values, strict=True):
            wrapped = (zone.wraps_at or 0) if later < earlier else 0
            self.counted += (later - earlier + wrapped) / 1e6
        return self.counted


@dataclasses.dataclass(frozen=True)
class PowerSensor:
    """A sensor that tells power and no energy.

    Attributes:
        source: What is read.
        scope: What it is the power of.
        path: The file, in microwatts.
    """

    source: str
    scope: str
    path: Path

    def watts(self) -> float:
        """What it says now.

        Raises:
            OSError: It cannot be read.
        """
        return int(self.path.read_text(encoding="ascii")) / 1e6


def find_power(
    root: Path = Path("/"), clock: Callable[[], int] = time.perf_counter_ns
) -> EnergyMeter | PowerSensor | Unavailable:
    """Finds what tells this machine's power best: counters of energy before sensors of power.

    Args:
        root: Where ``/proc`` and ``/sys`` are.
        clock: Nanoseconds.
    """
    reasons = []
    for source, scope, zones in _energy(root):
        try:
            return EnergyMeter(source, scope, tuple(zones), clock)
        except PermissionError as error:
            reasons.append(
                f"{error.filename} is readable by root only: run as root, or let others read it "
                f"(sudo chmod a+r {error.filename})"
            )
        except (OSError, ValueError) as error:
            reasons.append(f"{source} cannot be read: {error}")
    for sensor in _sensors(root):
        try:
            sensor.watts()
        except (OSError, ValueError) as error:
            reasons.append(f"{sensor.source} cannot be read: {error}")
        else:
            return sensor
    return Unavailable("; ".join(reasons) or _why_nothing(root))


def _energy(root: Path) -> Iterator[tuple[str, str, list[EnergyZone]]]:
    if zones := list(_rapl_zones(root)):
        names = " and ".join(zone.name for zone in zones)
        yield f"RAPL {names}", f"{names} of the whole machine", zones
    for chip in _chips(root, _ENERGY_CHIP):
        sockets = [
            EnergyZone(label, chip / path.name.replace("_label", "_input"), None)
            for path in sorted(chip.glob("energy*_label"))
            if (label := _text(path)).startswith("Esocket")
        ]
        if sockets:
            yield f"hwmon {_ENERGY_CHIP}", "the CPU packages of the whole machine", sockets


def _rapl_zones(root: Path) -> Iterator[EnergyZone]:
    """The packages, and memory beside them; what lies within a package is counted in it."""
    for folder in _entries(root / "sys/class/powercap"):
        name = _text(folder / "name")
        package = _ZONE.fullmatch(folder.name) and name.startswith("package")
        memory = _SUBZONE.fullmatch(folder.name) and name == "dram"
        if package or memory:
            wraps_at = _text(folder / "max_energy_range_uj")
            yield EnergyZone(
                name, folder / "energy_uj", int(wraps_at) if wraps_at.isdigit() else None
            )


def _sensors(root: Path) -> Iterator[PowerSensor]:
    for name, scope in _POWER_CHIPS.items():
        for chip in _chips(root, name):
            for file in ("power1_average", "power1_input"):
                if (chip / file).exists():
                    yield PowerSensor(f"hwmon {name}", scope, chip / file)


def _chips(root: Path, name: str) -> list[Path]:
    return [chip for chip in _entries(root / "sys/class/hwmon") if _text(chip / "name") == name]


def _why_nothing(root: Path) -> str:
    cpuinfo = _text(root / "proc/cpuinfo")
    if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE):
        return "no RAPL in this virtual machine, and no sensor of power: measure on the host"
    return (
        "no RAPL (/sys/class/powercap) and no sensor of power (/sys/class/hwmon): load the "
        "kernel's module (sudo modprobe intel_rapl_msr); containers may hide them"
    )


def _read(zone: EnergyZone) -> int:
    return int(zone.path.read_text(encoding="ascii"))


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _text(path: Path) -> str:
    """What a file says; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
