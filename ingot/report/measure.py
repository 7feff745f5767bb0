"""Measuring variants against each other on one machine, in turn.

What is compared is measured alternately (ABBA), since a machine's speed drifts: turbo, heat and
neighbours. Every round runs all variants forth and back, on the same CPUs and with the same number
of threads; a drift that is linear over a round cancels. A variant begins when the processes of all
are idle.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ingot.errors import UsageError
from ingot.progress import Progress, no_progress
from ingot.report.process import Worker
from ingot.report.usage import Sensors, Usage, UsageMeter
from ingot.report.workers.protocol import Array

_TOPOLOGY = Path("/sys/devices/system/cpu")
# Thread pools spin after a run, some for long; the next variant must not pay for it. A window is
# two of the system's ticks, in one of which a thread that spins would be caught.
_SETTLE_WINDOW_SECONDS = 0.02
_SETTLE_SECONDS = 2.0
# A run shorter than this feels that the caches hold the variant that ran before it.
_REFILL_SECONDS = 0.2
# After the pause that settling is, clocks have to rise and a pool's threads to wake: runs are not
# counted for as long as the shortest pause lasted, and no more than so many.
_MOST_UNCOUNTED = 64


class _Block(NamedTuple):
    """Runs of one variant in a row: timed ones, after ones that are not counted."""

    runs: int
    uncounted: int


@dataclasses.dataclass(frozen=True)
class MeasureSettings:
    """How to measure.

    Attributes:
        threads: Threads per inference, for all variants.
        cpus: CPUs that all variants stay on.
        runs: Timed inferences per variant; 100 or more show p99.
        rounds: Rounds that the runs are spread over.
        seconds: About how long a variant may be timed; a slow one gets fewer runs.
        warmup_window: Runs in each of the two windows that are compared.
        warmup_tolerance: Relative difference of the windows' medians that counts as stable.
        warmup_runs: The most runs of a warm-up.
        warmup_seconds: The most seconds of a warm-up.
    """

    threads: int
    cpus: tuple[int, ...]
    runs: int = 100
    rounds: int = 10
    seconds: float = 60.0
    warmup_window: int = 5
    warmup_tolerance: float = 0.05
    warmup_runs: int = 60
    warmup_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            UsageError: A number is not possible.
        """
        if self.threads < 1:
            raise UsageError(f"{self.threads} threads are not possible: give 1 or more")
        if self.runs < 2:
            raise UsageError(f"{self.runs} runs are not enough to compare: give 2 or more")
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"{self.seconds:g} seconds are not possible: give more than 0")


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """How the warm-up went.

    Attributes:
        runs: How many inferences it took.
        stable: Whether the medians of the last two windows agreed when it ended.
        median_seconds: Of the last window.
    """

    runs: int
    stable: bool
    median_seconds: float


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured of one variant.

    Attributes:
        name: The variant.
        rounds: Milliseconds of each timed inference, round by round, in the order they ran.
        warm_up: How the warm-up went.
        load_seconds: How long loading took.
        baseline_bytes: Resident memory of the process before loading.
        peak_bytes: The most resident memory of the process, after the timed runs.
        usage: What it took of the machine while it was timed.
    """

    name: str
    rounds: tuple[Array, ...]
    warm_up: WarmUp
    load_seconds: float
    baseline_bytes: int
    peak_bytes: int
    usage: Usage

    @property
    def milliseconds(self) -> Array:
        """All timed inferences, float64 [runs]."""
        return np.concatenate(self.rounds)


def measure(
    workers: Sequence[Worker],
    inputs: Mapping[str, Array],
    settings: MeasureSettings,
    progress: Progress = no_progress,
) -> list[Measurement]:
    """Warms all variants up and times them in turn.

    Args:
        workers: The loaded variants.
        inputs: What every variant runs on.
        settings: How to measure.
        progress: Told after each step.

    Returns:
        A measurement per worker, in order, with the same number of rounds.
    """
    warm_ups = []
    for index, worker in enumerate(workers):
        progress(f"warming up {worker.name}", index, len(workers))
        worker.set_inputs(inputs)
        warm_ups.append(warm_up(worker, settings))
    sensors = Sensors()
    meters = [UsageMeter(worker, sensors) for worker in workers]
    rounds, blocks = plan_blocks([warm.median_seconds for warm in warm_ups], settings)
    samples: list[list[Array]] = [[] for _ in workers]
    for index in range(rounds):
        progress("measuring in turn", index, rounds)
        forth = _time_in_order(workers, meters, blocks, range(len(workers)))
        back = _time_in_order(workers, meters, blocks, reversed(range(len(workers))))
        for position in range(len(workers)):
            ns = np.concatenate([forth[position], back[position]])
            samples[position].append(ns.astype(np.float64) / 1e6)
    progress("measuring in turn", rounds, rounds)
    return [
        Measurement(
            worker.name,
            tuple(taken),
            warm,
            worker.load_seconds,
            worker.baseline_bytes,
            worker.peak_bytes(),
            meter.usage(),
        )
        for worker, meter, taken, warm in zip(workers, meters, samples, warm_ups, strict=True)
    ]


def warm_up(worker: Worker, settings: MeasureSettings) -> WarmUp:
    """Runs a variant until its time is stable, within the bounds of the settings.

    Stable: the median of the last ``warmup_window`` runs differs from that of the window before by
    no more than ``warmup_tolerance``.
    """
    window = settings.warmup_window
    started = time.monotonic()
    taken: list[float] = []
    while True:
        taken += (worker.time(1) / 1e9).tolist()
        last = float(np.median(taken[-window:]))
        stable = False
        if len(taken) >= 2 * window:
            before = float(np.median(taken[-2 * window : -window]))
            stable = abs(last - before) <= settings.warmup_tolerance * before
        spent = time.monotonic() - started
        # The first run is never representative: memory is touched for the first time.
        exhausted = len(taken) >= settings.warmup_runs or spent > settings.warmup_seconds
        if stable or (exhausted and len(taken) > 1):
            return WarmUp(len(taken), stable, last)


def plan_blocks(medians: Sequence[float], settings: MeasureSettings) -> tuple[int, list[_Block]]:
    """How many rounds, and what each variant runs in each half of a round.

    Args:
        medians: Seconds of one inference, per variant, from the warm-up.
        settings: How many runs are wanted, and how long a variant may take.
    """
    allowed = [
        max(2, min(settings.runs, int(settings.seconds / max(median, 1e-9)))) for median in medians
    ]
    # Three rounds are the least from which an interval says anything at all.
    rounds = min(settings.rounds, max(min(3, settings.runs // 2), min(allowed) // 2))
    blocks = [
        _Block(max(1, -(-count // (2 * rounds))), _uncounted(median))
        for count, median in zip(allowed, medians, strict=True)
    ]
    return rounds, blocks


def _uncounted(median: float) -> int:
    """How many runs of so many seconds are not counted at the beginning of a block."""
    if median >= _REFILL_SECONDS:
        return 0
    return max(1, min(_MOST_UNCOUNTED, math.ceil(_SETTLE_WINDOW_SECONDS / max(median, 1e-9))))


def choose_cpus(threads: int) -> tuple[int, ...]:
    """CPUs for a number of threads: one per physical core first, then their siblings.

    Raises:
        UsageError: The process may not use as many CPUs.
    """
    available = sorted(os.sched_getaffinity(0))
    if threads > len(available):
        raise UsageError(
            f"{threads} threads are not possible: this process may use {len(available)} CPUs"
        )
    by_core: dict[str, list[int]] = {}
    for cpu in available:
        by_core.setdefault(_core(cpu), []).append(cpu)
    ranked = sorted((place, cpu) for cpus in by_core.values() for place, cpu in enumerate(cpus))
    return tuple(sorted(cpu for _, cpu in ranked[:threads]))


def _core(cpu: int) -> str:
    try:
        return (_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _time_in_order(
    workers: Sequence[Worker],
    meters: Sequence[UsageMeter],
    blocks: Sequence[_Block],
    order: Iterable[int],
) -> dict[int, Array]:
    times = {}
    for position in order:
        settle(workers)
        block = blocks[position]
        times[position] = meters[position].time(block.uncounted + block.runs)[block.uncounted :]
    return times


def settle(workers: Sequence[Worker]) -> None:
    """Waits until no variant's process computes any more, two seconds at most."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    used = -1.0
    while time.monotonic() < deadline:
        before, used = used, sum(worker.cpu_seconds() for worker in workers)
        if used == before:
            return
        time.sleep(_SETTLE_WINDOW_SECONDS)
