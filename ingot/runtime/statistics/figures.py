"""What a session says of itself while it runs: figures, or why one is not available."""

from __future__ import annotations

import dataclasses
from typing import Literal

from ingot.runtime.statistics.metrics import Family


@dataclasses.dataclass(frozen=True)
class Unavailable:
    """In the place of a figure that this machine does not give; false in a condition.

    Attributes:
        reason: Why, and what to do where something can be done.
    """

    reason: str

    def __bool__(self) -> Literal[False]:
        return False

    def __str__(self) -> str:
        return f"not available: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Latency:
    """Times of the inferences within the window, in milliseconds.

    Attributes:
        samples: How many inferences.
        mean: None without any.
        p50: The median; None without any.
        p95: None below 20 samples.
        p99: None below 100 samples.
    """

    samples: int
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclasses.dataclass(frozen=True)
class DurationHistogram:
    """How long all inferences since loading took.

    Attributes:
        bounds: Upper bounds in seconds, ascending; one more bucket has none.
        counts: Inferences in each bucket, not accumulated.
        seconds: Of all inferences together.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    seconds: float


@dataclasses.dataclass(frozen=True)
class ArenaMemory:
    """Memory that a session keeps for intermediate tensors, in bytes.

    Attributes:
        now: Held now.
        peak: The most that was held.
    """

    now: int
    peak: int


@dataclasses.dataclass(frozen=True)
class MemoryPhases:
    """Peaks of memory by phase, in bytes; None where there has been none yet.

    Attributes:
        load: Resident memory of the process, up to the end of loading.
        inference: Intermediate tensors of the inputs that needed the least of those seen.
        batch: Intermediate tensors of the inputs that needed the most.
        optimization: Resident memory of the process that compiled the artifact.
    """

    load: int | None
    inference: int | None
    batch: int | None
    optimization: int | None


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory in bytes.

    Attributes:
        resident: Of the whole process, now.
        peak: The most resident memory that the process has had.
        arena: The session's own part for intermediate tensors.
        phases: Peaks by phase.
    """

    resident: int
    peak: int
    arena: ArenaMemory | Unavailable
    phases: MemoryPhases | Unavailable


@dataclasses.dataclass(frozen=True)
class Cpu:
    """What the whole process took of the CPUs.

    Attributes:
        percent: Within the window; 100 is one CPU busy all the time.
        usable: How many CPUs it may keep busy, by affinity and quota.
        seconds: CPU time since the process began.
    """

    percent: float
    usable: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A GPU of the machine, whoever uses it, now.

    Attributes:
        index: Its number.
        name: Its model.
        percent: How much of the time it computed, in the driver's last period.
        memory_used: Bytes; None where the driver does not say.
        watts: None where the driver does not say.
    """

    index: int
    name: str
    percent: float
    memory_used: int | None
    watts: float | None


@dataclasses.dataclass(frozen=True)
class Power:
    """Electrical power.

    Attributes:
        watts: The mean over the window, or what a sensor that knows no energy says now.
        joules: Since the session was loaded; None from a sensor that knows no energy.
        source: What it was read from.
        scope: What it is the power of; other processes' share is in it.
    """

    watts: float
    joules: float | None
    source: str
    scope: str


@dataclasses.dataclass(frozen=True)
class Statistics:
    """The figures of a session.

    Attributes:
        model: The model's name.
        inferences: Finished since loading.
        errors: Failed since loading; they are in no other figure.
        window_seconds: What "within the window" means: the last minute, or less where the session
            is younger or the inferences kept (4096) do not go back as far.
        latency: Within the window.
        throughput: Inferences finished per second, within the window.
        durations: Of all inferences.
        memory: Now, and its peak.
        cpu: Within the window.
        gpus: Now.
        power: Within the window.
        energy_per_inference: Joules of ``power``'s scope within the window by the inferences
            finished in it.
        custom: The metrics that were registered beside these.
    """

    model: str
    inferences: int
    errors: int
    window_seconds: float
    latency: Latency
    throughput: float
    durations: DurationHistogram
    memory: Memory
    cpu: Cpu
    gpus: tuple[Gpu, ...] | Unavailable
    power: Power | Unavailable
    energy_per_inference: float | Unavailable
    custom: tuple[Family, ...] = ()

    def to_prometheus(self) -> str:
        """The figures in Prometheus' text format, version 0.0.4."""
        from ingot.runtime.statistics.exposition import to_prometheus

        return to_prometheus([self])

    def to_openmetrics(self) -> str:
        """The figures in OpenMetrics' text format, version 1.0.0."""
        from ingot.runtime.statistics.exposition import to_openmetrics

        return to_openmetrics([self])

    def __str__(self) -> str:
        """The figures, one a line."""
        from ingot.runtime.statistics.listing import listing

        return listing(self)
