"""What a variant takes of the machine is that of its own blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ingot.report import usage as module
from ingot.report.assembly import usage_figures
from ingot.report.process import Timed
from ingot.report.rendering import formats
from ingot.report.usage import Sensors, UsageMeter
from ingot.runtime.statistics.figures import Gpu, Unavailable
from tests.runtime.statistics.test_power import rapl, write


class Machine:
    """A clock, a package that takes 10 W at rest, and a variant that takes 50 W for a second."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, counter: bool = True) -> None:
        self.now = 100.0
        self.energy = rapl(root, "intel-rapl:0", "package-0", 0) if counter else None
        self.joules = 0.0
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)

    def pass_seconds(self, seconds: float, watts: float) -> None:
        self.now += seconds
        self.joules += seconds * watts
        if self.energy is not None:
            self.energy.write_text(str(round(self.joules * 1e6)))

    def timed(self, runs: int) -> Timed:
        self.pass_seconds(1.0, 50.0)
        return Timed(np.full(runs, 1_000_000), seconds=0.5, cpu_seconds=0.75)


def test_what_runs_between_the_blocks_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch)
    meter = UsageMeter(machine, Sensors(tmp_path))
    for _ in range(2):
        machine.pass_seconds(9.0, 10.0)
        assert meter.time(5).tolist() == [1_000_000] * 5
    found = meter.usage()
    assert found.cpu_percent == 150
    assert (found.watts, found.joules_per_inference) == (50.0, 10.0)
    assert found.power_source == "RAPL package-0, package-0 of the whole machine"


def test_a_sensor_gives_power_and_no_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch, counter=False)
    chip = {"name": "power_meter", "power1_average": 80_000_000}
    write(tmp_path / "sys/class/hwmon/hwmon0", chip)
    meter = UsageMeter(machine, Sensors(tmp_path))
    meter.time(1)
    write(tmp_path / "sys/class/hwmon/hwmon0", {"power1_average": 100_000_000})
    meter.time(1)
    found = meter.usage()
    assert found.watts == 90.0
    assert found.joules_per_inference == Unavailable("hwmon power_meter tells power and no energy")


def test_a_counter_that_goes_away_leaves_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch)
    meter = UsageMeter(machine, Sensors(tmp_path))
    meter.time(1)
    energy, machine.energy = machine.energy, None
    energy.unlink()
    meter.time(1)
    machine.energy = rapl(tmp_path, "intel-rapl:0", "package-0", 0)
    meter.time(1)
    found = meter.usage()
    assert isinstance(found.watts, Unavailable)
    assert "cannot be read any more" in found.watts.reason


def test_the_busiest_gpu_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, sensors = Machine(tmp_path, monkeypatch), Sensors(tmp_path)
    busy = iter([(10.0, 30.0), (90.0, 0.0)])
    monkeypatch.setattr(
        sensors._gpus,
        "read",
        lambda: tuple(Gpu(i, "x", percent, None, None) for i, percent in enumerate(next(busy))),
    )
    meter = UsageMeter(machine, sensors)
    meter.time(1)
    meter.time(1)
    assert meter.usage().gpu_percent == 60


def test_what_is_missing_is_told_once_with_the_reason(figures, tmp_path, monkeypatch) -> None:
    machine = Machine(tmp_path, monkeypatch, counter=False)
    write(tmp_path / "proc", {"cpuinfo": "flags : hypervisor"})
    sensors = Sensors(tmp_path)
    monkeypatch.setattr(sensors._gpus, "read", lambda: Unavailable("no GPU"))
    meter = UsageMeter(machine, sensors)
    meter.time(1)
    told = usage_figures(meter.usage())
    assert (told.cpu_percent, told.gpu_percent, told.watts) == (150, None, None)
    assert set(told.unavailable) == {"gpu_percent", "watts", "joules_per_inference"}
    report = figures.report()
    variants = tuple(each.model_copy(update={"usage": told}) for each in report.variants)
    lines = formats.not_available(report.model_copy(update={"variants": variants}))
    assert lines[0] == "GPU is not available: no GPU."
    assert lines[1].startswith("Power is not available: no RAPL in this virtual machine")
    assert len(lines) == 2
    # Of reports in which it was not measured nothing is told.
    before = tuple(each.model_copy(update={"usage": None}) for each in report.variants)
    assert formats.not_available(report.model_copy(update={"variants": before})) == []
