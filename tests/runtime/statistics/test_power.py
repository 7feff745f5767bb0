"""Power of a machine that has RAPL, of one that hides it, and of one without."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.runtime.statistics.figures import Unavailable
from ingot.runtime.statistics.power import EnergyMeter, PowerSensor, find_power

SECOND = 1_000_000_000
RANGE = 262_143_328_850
POWERCAP = "sys/class/powercap"


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def write(folder: Path, contents: dict[str, object]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(f"{text}\n")
    return folder


def rapl(root: Path, zone: str, name: str, energy: int) -> Path:
    contents = {"name": name, "energy_uj": energy, "max_energy_range_uj": RANGE}
    return write(root / POWERCAP / zone, contents) / "energy_uj"


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_packages_and_memory_are_added_up_and_nothing_twice(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / POWERCAP / "intel-rapl").mkdir(parents=True)
    package = rapl(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    core = rapl(tmp_path, "intel-rapl:0:0", "core", 1_000_000)
    memory = rapl(tmp_path, "intel-rapl:0:1", "dram", 7)
    platform = rapl(tmp_path, "intel-rapl:1", "psys", 9)
    again = rapl(tmp_path, "intel-rapl-mmio:0", "package-0", 5_000_000)
    meter = find_power(tmp_path, clock)
    assert isinstance(meter, EnergyMeter)
    assert meter.joules() == 0
    for path in (core, platform, again):
        path.write_text("900000000\n")
    package.write_text("35000000\n")
    memory.write_text("5000007\n")
    clock.now = 2 * SECOND
    assert meter.joules() == pytest.approx(35)
    assert (meter.source, meter.scope) == (
        "RAPL package-0 and dram", "package-0 and dram of the whole machine",
    )  # fmt: skip


def test_a_counter_that_wraps_goes_on(tmp_path: Path, clock: Clock) -> None:
    energy = rapl(tmp_path, "intel-rapl:0", "package-0", RANGE - 1_000_000)
    meter = find_power(tmp_path, clock)
    assert isinstance(meter, EnergyMeter)
    for now, reading, joules in ((10, 2_000_000, 3), (20, RANGE, 3 + RANGE / 1e6 - 2)):
        clock.now = now * SECOND
        energy.write_text(str(reading))
        assert meter.joules() == pytest.approx(joules)
    energy.write_text("0")
    assert meter.joules() == pytest.approx(1 + RANGE / 1e6)


def test_wraps_that_nobody_saw_are_no_figure(tmp_path: Path, clock: Clock) -> None:
    energy = rapl(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = find_power(tmp_path, clock)
    assert isinstance(meter, EnergyMeter)
    energy.write_text("1000000")
    clock.now = 10 * SECOND
    assert meter.joules() == 1
    clock.now += 300 * SECOND
    missed = meter.joules()
    assert isinstance(missed, Unavailable)
    assert missed.reason == (
        "RAPL package-0 was last read 300 s ago and may have wrapped since: ask at least every "
        "262 s"
    )
    energy.write_text("3000000")
    clock.now += SECOND
    assert meter.joules() == 3  # what was taken meanwhile is not known, and left out


def test_a_counter_for_root_alone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    energy = rapl(tmp_path, "intel-rapl:0", "package-0", 0)
    read = Path.read_text

    def guarded(path: Path, *arguments: object, **named: object) -> str:
        if path == energy:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", guarded)
    found = find_power(tmp_path)
    assert isinstance(found, Unavailable)
    assert found.reason == (
        f"{energy} is readable by root only: run as root, or let others read it (sudo chmod a+r "
        f"{energy})"
    )
    write(
        tmp_path / "sys/class/hwmon/hwmon0", {"name": "power_meter", "power1_average": 85_500_000}
    )
    sensor = find_power(tmp_path)
    assert isinstance(sensor, PowerSensor)
    assert (sensor.watts(), sensor.scope) == (85.5, "the whole machine")


def test_energy_of_amds_sockets(tmp_path: Path, clock: Clock) -> None:
    contents = {
        "name": "amd_energy",
        "energy1_label": "Ecore000",
        "energy1_input": 10,
        "energy2_label": "Esocket0",
        "energy2_input": 1_000_000,
    }
    chip = write(tmp_path / "sys/class/hwmon/hwmon3", contents)
    meter = find_power(tmp_path, clock)
    assert isinstance(meter, EnergyMeter)
    write(chip, {"energy1_input": 20_000_000, "energy2_input": 4_000_000})
    clock.now = 100_000 * SECOND  # never wraps: however long ago
    assert meter.joules() == 3
    assert meter.source == "hwmon amd_energy"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("fpu avx2 hypervisor", "no RAPL in this virtual machine, and no sensor of power: measure"),
        ("fpu avx2", "load the kernel's module"),
    ],
)
def test_a_machine_that_tells_nothing_says_why(tmp_path: Path, flags: str, reason: str) -> None:
    write(tmp_path / "proc", {"cpuinfo": f"processor\t: 0\nflags\t\t: {flags}"})
    write(tmp_path / "sys/class/hwmon/hwmon0", {"name": "coretemp", "temp1_input": 40000})
    found = find_power(tmp_path)
    assert isinstance(found, Unavailable)
    assert reason in found.reason


def test_a_counter_that_says_nonsense_is_no_figure(tmp_path: Path) -> None:
    rapl(tmp_path, "intel-rapl:0", "package-0", 0).write_text("")
    found = find_power(tmp_path)
    assert isinstance(found, Unavailable)
    assert found.reason.startswith("RAPL package-0 cannot be read: ")
