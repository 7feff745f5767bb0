"""What a session keeps so as to tell its figures."""

from __future__ import annotations

import collections
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.recorder import Recorder
from ingot.runtime.statistics.figures import (
    ArenaMemory,
    Cpu,
    Memory,
    MemoryPhases,
    Power,
    Statistics,
    Unavailable,
)
from ingot.runtime.statistics.gpu import GpuReader
from ingot.runtime.statistics.metrics import MetricRegistry
from ingot.runtime.statistics.power import EnergyMeter, find_power
from ingot.runtime.statistics.process import resident_memory
from ingot.runtime.statistics.window import WINDOW_SECONDS, Window, durations

_READINGS = 64
_READING_EVERY_NS = 1_000_000_000
# A counter of energy moves once in a millisecond.
_SHORTEST_NS = 100_000_000


_monitors: weakref.WeakSet[Monitor] = weakref.WeakSet()


class Monitor:
    """Reads a session's recorded inferences, and what the machine says beside them.

    A forked child begins at zero: what its parent did is the parent's.

    Attributes:
        metrics: The application's own.
    """

    def __init__(
        self,
        model: str,
        recorder: Recorder,
        *,
        arena: Callable[[], ArenaMemory] | None = None,
        phases: Callable[[], MemoryPhases] | None = None,
        root: Path = Path("/"),
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        """Begins to watch the power.

        Args:
            model: The model's name.
            recorder: Told of every inference.
            arena: Returns what the session holds for intermediate tensors.
            phases: Returns the peaks of memory by phase.
            root: Where ``/proc`` and ``/sys`` are.
            clock: Nanoseconds.
        """
        self.metrics = MetricRegistry()
        self._model, self._root, self._clock = model, root, clock
        self._arena, self._phases = arena, phases
        self._recorder = recorder
        self._begin(inferences=recorder.read().inferences)
        _monitors.add(self)

    def _begin(self, inferences: int) -> None:
        self._lock = threading.Lock()
        self._gpus = GpuReader(self._root)
        self._power = find_power(self._root, self._clock)
        # When, the joules up to then, and the inferences.
        self._readings: collections.deque[tuple[int, float, int]] = collections.deque(
            [(self._clock(), 0.0, inferences)], maxlen=_READINGS
        )

    def begin_anew(self) -> None:
        """Forgets all, the metrics' values too; for a forked child."""
        self.metrics.begin_anew()
        self._begin(inferences=0)

    def read(self) -> Statistics:
        """The figures now.

        Raises:
            OSError: ``/proc`` is not mounted.
        """
        with self._lock:
            recording = self._recorder.read()
            power, energy = self._read_power(recording.inferences)
            gpus = self._gpus.read()
        resident, peak = resident_memory(self._root)
        window = Window(recording)
        none = Unavailable("this session has none")
        arena = none if self._arena is None else self._arena()
        phases = none if self._phases is None else self._phases()
        return Statistics(
            model=self._model,
            inferences=recording.inferences,
            errors=recording.errors,
            window_seconds=window.seconds,
            latency=window.latency,
            throughput=window.throughput,
            durations=durations(recording),
            memory=Memory(resident, peak, arena, phases),
            cpu=Cpu(window.cpu_percent, usable_cpus(self._root), recording.cpu_ns / 1e9),
            gpus=gpus,
            power=power,
            energy_per_inference=energy,
            custom=self.metrics.collect(),
        )

    def _read_power(self, inferences: int) -> tuple[Power | Unavailable, float | Unavailable]:
        """Power, and joules per inference."""
        meter = self._power
        if isinstance(meter, Unavailable):
            return meter, meter
        try:
            if isinstance(meter, EnergyMeter):
                return self._read_energy(meter, inferences)
            watts = meter.watts()
        except (OSError, ValueError) as error:
            gone = Unavailable(f"{meter.source} cannot be read any more: {error}")
            return gone, gone
        return (
            Power(watts, None, meter.source, meter.scope),
            Unavailable(f"{meter.source} tells power now, and no energy"),
        )

    def _read_energy(
        self, meter: EnergyMeter, inferences: int
    ) -> tuple[Power | Unavailable, float | Unavailable]:
        now, joules = self._clock(), meter.joules()
        if isinstance(joules, Unavailable):
            # What was taken up to here is not known: begin anew.
            self._readings.clear()
            self._readings.append((now, meter.counted, inferences))
            return joules, joules
        then, joules_then, inferences_then = self._reading_before(now)
        if now - self._readings[-1][0] >= _READING_EVERY_NS:
            self._readings.append((now, joules, inferences))
        if now - then < _SHORTEST_NS:
            early = Unavailable("watched for less than 0.1 s: ask again")
            return early, early
        spent, done = joules - joules_then, inferences - inferences_then
        power = Power(spent / ((now - then) / 1e9), joules, meter.source, meter.scope)
        if not done:
            return power, Unavailable("no inference within the window")
        return power, spent / done

    def _reading_before(self, now: int) -> tuple[int, float, int]:
        """The first reading within the window; where there is none, the last before it."""
        for reading in self._readings:
            if now - reading[0] <= WINDOW_SECONDS * 1e9:
                return reading
        return self._readings[-1]


def _after_fork() -> None:
    for monitor in _monitors:
        monitor.begin_anew()


os.register_at_fork(after_in_child=_after_fork)
