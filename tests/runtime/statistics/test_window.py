"""The figures of the last minute: told where there are samples for them, over a stated time."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.runtime import recorder as module
from ingot.runtime.recorder import KEPT, Recorder
from ingot.runtime.statistics.window import Window, durations

SECOND = 1_000_000_000


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cpu = 1000 * SECOND, 0
        monkeypatch.setattr(module.time, "perf_counter_ns", lambda: self.now)
        monkeypatch.setattr(module.time, "process_time_ns", lambda: self.cpu)

    def pass_seconds(self, seconds: float, busy: float = 0.0) -> None:
        self.now += round(seconds * SECOND)
        self.cpu += round(seconds * busy * SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run(recorder: Recorder, clock: Clock, milliseconds: float) -> None:
    start = clock.now
    clock.pass_seconds(milliseconds / 1e3)
    recorder.record(start, clock.now)


@pytest.mark.parametrize(("count", "p95", "p99"), [(1, False, False), (19, False, False),
                                                   (20, True, False), (99, True, False),
                                                   (100, True, True)])  # fmt: skip
def test_a_quantile_is_told_where_there_are_samples_for_it(
    clock: Clock, count: int, p95: bool, p99: bool
) -> None:
    recorder = Recorder()
    times = [float(index + 1) for index in range(count)]
    for each in times:
        run(recorder, clock, each)
    latency = Window(recorder.read()).latency
    assert latency.samples == count
    assert latency.mean == pytest.approx(np.mean(times))
    assert latency.p50 == pytest.approx(np.median(times))
    assert latency.p95 == (pytest.approx(np.quantile(times, 0.95)) if p95 else None)
    assert latency.p99 == (pytest.approx(np.quantile(times, 0.99)) if p99 else None)


def test_nothing_recorded_is_no_latency(clock: Clock) -> None:
    recorder = Recorder()
    clock.pass_seconds(3)
    recorder.record_error()
    recorded = recorder.read()
    window = Window(recorded)
    assert (recorded.inferences, recorded.errors, window.throughput) == (0, 1, 0)
    assert (window.latency.mean, window.latency.p50) == (None, None)
    assert window.seconds == 3


def test_the_window_is_the_last_minute(clock: Clock) -> None:
    recorder = Recorder()
    for _ in range(10):
        run(recorder, clock, 100)
    clock.pass_seconds(59.5)
    recorded = recorder.read()
    window = Window(recorded)
    assert window.seconds == 60
    assert window.latency.samples == 5  # the others ended more than a minute ago
    assert window.throughput == pytest.approx(5 / 60)
    clock.pass_seconds(60)
    recorded = recorder.read()
    window = Window(recorded)
    assert (window.latency.samples, window.throughput) == (0, 0)
    assert (recorded.inferences, sum(recorded.counts)) == (10, 10)
    assert durations(recorded).seconds == pytest.approx(1.0)


def test_more_than_is_kept_makes_the_window_shorter(clock: Clock) -> None:
    recorder = Recorder()
    for _ in range(3 * KEPT):
        run(recorder, clock, 1)
    recorded = recorder.read()
    window = Window(recorded)
    assert recorded.inferences == 3 * KEPT
    assert window.latency.samples == KEPT - 1  # the oldest one is where the window begins
    assert window.seconds == pytest.approx((KEPT - 1) / 1000)
    assert window.throughput == pytest.approx(1000)


def test_durations_are_counted_up_to_their_bound(clock: Clock) -> None:
    recorder = Recorder()
    for seconds in (1e-6, 1e-5, 1.1e-5, 0.3, 10.0, 11.0):
        run(recorder, clock, seconds * 1e3)
    found = durations(recorder.read())
    counts = dict(zip((*found.bounds, None), found.counts, strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {
        1e-5: 2, 2.5e-5: 1, 0.5: 1, 10.0: 1, None: 1,
    }  # fmt: skip


def test_cpu_is_that_of_the_last_minute(clock: Clock) -> None:
    recorder = Recorder()
    for _ in range(100):
        clock.pass_seconds(0.99, busy=2.0)
        run(recorder, clock, 10)
    assert Window(recorder.read()).cpu_percent == pytest.approx(198, abs=1)
    for _ in range(120):
        clock.pass_seconds(0.99)
        run(recorder, clock, 10)
    assert Window(recorder.read()).cpu_percent == 0


def test_a_session_at_rest_tells_the_cpu_since_it_was_last_looked_at(clock: Clock) -> None:
    recorder = Recorder()
    clock.pass_seconds(100, busy=0.5)
    assert Window(recorder.read()).cpu_percent == pytest.approx(50)
    clock.pass_seconds(200, busy=0.25)
    assert Window(recorder.read()).cpu_percent == pytest.approx(25)
