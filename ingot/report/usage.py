"""What variants take of the machine while they are timed: CPUs, GPU, electrical power."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from ingot.report.process import Worker
from ingot.report.workers.protocol import Array
from ingot.runtime.statistics.figures import Unavailable
from ingot.runtime.statistics.gpu import GpuReader
from ingot.runtime.statistics.power import EnergyMeter, PowerSensor, find_power


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a variant took while it ran, what ran between its blocks left out.

    Attributes:
        cpu_percent: Of the variant's process; 100 is one CPU busy.
        gpu_percent: Of the machine's busiest GPU, the mean over blocks.
        watts: Mean power of the scope.
        joules_per_inference: Of the scope; a sensor of power that knows no energy gives none.
        power_source: What the power was read from, and of what it is; empty without power.
    """

    cpu_percent: float
    gpu_percent: float | Unavailable
    watts: float | Unavailable
    joules_per_inference: float | Unavailable
    power_source: str


class Sensors:
    """What of the machine can be read around a block of runs."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Finds the sensors.

        Args:
            root: Where ``/proc`` and ``/sys`` are.
        """
        self.power = find_power(root)
        self._gpus = GpuReader(root)

    def joules(self) -> float | Unavailable:
        """Energy up to now."""
        if isinstance(self.power, Unavailable):
            return self.power
        if isinstance(self.power, PowerSensor):
            return Unavailable(f"{self.power.source} tells power and no energy")
        try:
            return self.power.joules()
        except (OSError, ValueError) as error:
            return Unavailable(f"{self.power.source} cannot be read any more: {error}")

    def watts(self) -> float | Unavailable:
        """Power at this moment, of a sensor that tells it."""
        if isinstance(self.power, Unavailable):
            return self.power
        if isinstance(self.power, EnergyMeter):
            return Unavailable(f"{self.power.source} tells energy and no power")
        try:
            return self.power.watts()
        except (OSError, ValueError) as error:
            return Unavailable(f"{self.power.source} cannot be read any more: {error}")

    def gpu_percent(self) -> float | Unavailable:
        """How busy the busiest GPU is."""
        gpus = self._gpus.read()
        if isinstance(gpus, Unavailable):
            return gpus
        return max(gpu.percent for gpu in gpus)


class UsageMeter:
    """Adds up over a variant's blocks what the machine's sensors say around each."""

    def __init__(self, worker: Worker, sensors: Sensors) -> None:
        """Takes the variant's process, and the sensors that all variants share."""
        self._worker, self._sensors = worker, sensors
        self._runs = 0
        self._seconds = self._cpu_seconds = 0.0
        self._watched = 0.0
        self._joules: float | Unavailable = 0.0
        self._watts: list[float] = []
        self._gpu: list[float] = []
        self._no_gpu = Unavailable("not read")

    def time(self, runs: int) -> Array:
        """Runs a block.

        Returns:
            Nanoseconds of each run, int64 [runs].
        """
        began, before = time.perf_counter(), self._sensors.joules()
        timed = self._worker.timed(runs)
        after, ended = self._sensors.joules(), time.perf_counter()
        self._runs += runs
        self._seconds += timed.seconds
        self._cpu_seconds += timed.cpu_seconds
        self._add_energy(before, after, ended - began)
        self._add_moment()
        return timed.nanoseconds

    def _add_energy(
        self, before: float | Unavailable, after: float | Unavailable, seconds: float
    ) -> None:
        for reading in (self._joules, before, after):
            if isinstance(reading, Unavailable):
                self._joules = reading
                return
        assert isinstance(self._joules, float)
        assert isinstance(before, float) and isinstance(after, float)
        self._joules += after - before
        self._watched += seconds

    def _add_moment(self) -> None:
        watts, gpu = self._sensors.watts(), self._sensors.gpu_percent()
        if not isinstance(watts, Unavailable):
            self._watts.append(watts)
        if isinstance(gpu, Unavailable):
            self._no_gpu = gpu
        else:
            self._gpu.append(gpu)

    def usage(self) -> Usage:
        """What the variant took in all blocks, of which there was at least one."""
        joules, power = self._joules, self._sensors.power
        watts = per_inference = joules
        if not isinstance(joules, Unavailable):
            watts, per_inference = joules / self._watched, joules / self._runs
        elif self._watts:
            watts = sum(self._watts) / len(self._watts)
        return Usage(
            cpu_percent=100.0 * self._cpu_seconds / self._seconds,
            gpu_percent=sum(self._gpu) / len(self._gpu) if self._gpu else self._no_gpu,
            watts=watts,
            joules_per_inference=per_inference,
            power_source=f"{power.source}, {power.scope}" if power else "",
        )
