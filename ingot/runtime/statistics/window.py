"""What follows from recorded inferences: the latency, throughput and CPU of the last minute."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ingot.runtime.recorder import BOUNDS_NS, KEPT, Recording
from ingot.runtime.statistics.figures import DurationHistogram, Latency

WINDOW_SECONDS = 60.0

# One sample in expectation lies beyond the quantile: as in the report.
_SAMPLES_FOR_P95 = 20
_SAMPLES_FOR_P99 = 100


class Window:
    """The last minute of a recording, or as far back as it goes.

    Attributes:
        seconds: How far back it goes.
    """

    def __init__(self, recording: Recording) -> None:
        """Takes what has been recorded."""
        self._recording = recording
        ends = np.array(recording.ends_ns, np.int64)
        since = max(recording.begun_ns, recording.now_ns - round(WINDOW_SECONDS * 1e9))
        if recording.inferences > KEPT:
            # What ended before the oldest one kept is not known.
            since = max(since, int(ends.min()))
        self.seconds = max(recording.now_ns - since, 1) / 1e9
        self._taken: npt.NDArray[np.int64] = np.array(recording.taken_ns, np.int64)[ends > since]

    @property
    def throughput(self) -> float:
        """Inferences finished per second."""
        return len(self._taken) / self.seconds

    @property
    def latency(self) -> Latency:
        """Of the inferences that ended within the window."""
        ms = self._taken / 1e6
        if not ms.size:
            return Latency(0, None, None, None, None)
        p50, p95, p99 = (float(value) for value in np.quantile(ms, (0.5, 0.95, 0.99)))
        return Latency(
            samples=ms.size,
            mean=float(ms.mean()),
            p50=p50,
            p95=p95 if ms.size >= _SAMPLES_FOR_P95 else None,
            p99=p99 if ms.size >= _SAMPLES_FOR_P99 else None,
        )

    @property
    def cpu_percent(self) -> float:
        """What the process took of the CPUs; 100 is one of them.

        From the first look within the window; where there is none, from the last before it.
        """
        now = self._recording.now_ns
        before = [look for look in self._recording.looks if look[0] < now]
        within = [look for look in before if now - look[0] <= WINDOW_SECONDS * 1e9]
        if not before:
            return 0.0
        then, cpu_then = within[0] if within else before[-1]
        return 100.0 * (self._recording.cpu_ns - cpu_then) / (now - then)


def durations(recording: Recording) -> DurationHistogram:
    """How long all inferences took."""
    bounds = tuple(bound / 1e9 for bound in BOUNDS_NS)
    return DurationHistogram(bounds, recording.counts, recording.total_ns / 1e9)
