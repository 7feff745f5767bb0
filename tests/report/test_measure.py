"""Measuring in turn: the order, the warm-up and what a slow variant gets."""

import os

import numpy as np
import pytest

from ingot.errors import UsageError
from ingot.report.measure import (
    MeasureSettings,
    choose_cpus,
    measure,
    plan_blocks,
    settle,
    warm_up,
)
from ingot.report.process import Timed, Worker

SETTINGS = MeasureSettings(threads=1, cpus=(0,), runs=40, rounds=5)


class ScriptedWorker:
    """Stands for a process: returns given times and writes down who ran."""

    load_seconds, baseline_bytes = 0.5, 1000

    def __init__(self, name, milliseconds, journal):
        self.name, self._journal = name, journal
        self._times = iter(milliseconds)

    def set_inputs(self, inputs):
        self.inputs = inputs

    def time(self, runs):
        return self.timed(runs).nanoseconds

    def timed(self, runs):
        self._journal.append((self.name, runs))
        taken = np.array([next(self._times) * 1e6 for _ in range(runs)], np.int64)
        seconds = taken.sum() / 1e9
        return Timed(taken, seconds, cpu_seconds=1.5 * seconds)

    def cpu_seconds(self):
        return 1.0

    def peak_bytes(self):
        return 2000


def constant(value):
    while True:
        yield value


def test_variants_run_forth_and_back_in_each_round():
    journal = []
    workers = [ScriptedWorker(name, constant(1.0), journal) for name in "abc"]
    measured = measure(workers, {}, SETTINGS)
    timed = [name for name, runs in journal if runs > 1]
    assert timed == list("abccba") * 5
    assert [len(m.rounds) for m in measured] == [5, 5, 5]
    assert all(m.milliseconds.tolist() == [1.0] * 40 for m in measured)
    assert measured[0].peak_bytes == 2000
    assert measured[0].usage.cpu_percent == pytest.approx(150)


def test_the_first_runs_after_another_variant_are_not_counted():
    def cold_then_warm():
        yield from [1.0] * 10  # the warm-up
        while True:
            yield from [50.0] * 20
            yield from [1.0] * 4

    workers = [
        ScriptedWorker("a", cold_then_warm(), []),
        ScriptedWorker("b", constant(1.0), []),
    ]
    assert measure(workers, {}, SETTINGS)[0].milliseconds.max() == 1.0


class SpinningWorker:
    """Stands for a process whose threads spin until it has been asked a number of times."""

    def __init__(self, times):
        self._left, self.asked = times, 0

    def cpu_seconds(self):
        self.asked += 1
        return 1.0 + 0.01 * min(self.asked, self._left)


def test_a_variant_begins_when_all_processes_are_idle():
    spinning, idle = SpinningWorker(5), SpinningWorker(0)
    settle([spinning, idle])
    assert spinning.asked == idle.asked == 6


def test_a_process_that_never_rests_is_waited_for_two_seconds_at_most(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("ingot.report.measure.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "ingot.report.measure.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    settle([SpinningWorker(10**9)])
    assert 1.9 < now[0] < 2.1


def test_warm_up_goes_on_until_two_windows_agree():
    falling = iter([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, *[1.0] * 40])
    result = warm_up(ScriptedWorker("a", falling, []), SETTINGS)
    assert result.stable
    assert result.median_seconds == pytest.approx(1e-3)
    assert result.runs > 10


def test_warm_up_gives_up_on_what_never_settles():
    rising = (1.2**index for index in range(100))
    result = warm_up(ScriptedWorker("a", rising, []), SETTINGS)
    assert (result.stable, result.runs) == (False, SETTINGS.warmup_runs)


class TestPlan:
    def test_a_fast_variant_gets_the_runs_that_were_asked_for(self):
        rounds, blocks = plan_blocks([0.001, 0.002], MeasureSettings(1, (0,), runs=100))
        assert rounds == 10
        assert [block.runs for block in blocks] == [5, 5]

    @pytest.mark.parametrize(
        ("median", "uncounted"), [(0.0001, 64), (0.001, 20), (0.03, 1), (0.19, 1), (0.3, 0)]
    )
    def test_a_block_begins_with_uncounted_runs_for_as_long_as_the_pause_before_it(
        self, median, uncounted
    ):
        _, blocks = plan_blocks([median], MeasureSettings(1, (0,), runs=100))
        assert blocks[0].uncounted == uncounted

    def test_a_slow_variant_gets_fewer_runs_and_the_fast_one_keeps_its_own(self):
        settings = MeasureSettings(1, (0,), runs=100, seconds=60.0)
        rounds, blocks = plan_blocks([0.04, 4.2], settings)
        assert rounds == 7
        assert blocks[1].runs * 2 * rounds == 14
        assert blocks[0].runs * 2 * rounds >= 100
        assert blocks[1].uncounted == 0

    def test_even_the_slowest_gets_three_rounds(self):
        rounds, blocks = plan_blocks([0.1, 600.0], MeasureSettings(1, (0,), runs=100))
        assert (rounds, blocks[1].runs) == (3, 1)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [({"threads": 0}, "0 threads are not possible"), ({"runs": 1}, "1 runs are not enough")],
)
def test_numbers_that_cannot_be_are_refused(numbers, message):
    with pytest.raises(UsageError, match=message):
        MeasureSettings(**{"threads": 1, "cpus": (0,), **numbers})


def test_cpus_are_some_of_those_that_the_process_may_use():
    available = os.sched_getaffinity(0)
    assert set(choose_cpus(1)) < available or len(available) == 1
    assert set(choose_cpus(len(available))) == available
    with pytest.raises(UsageError, match=f"may use {len(available)} CPUs"):
        choose_cpus(len(available) + 1)


def test_cpus_are_taken_from_different_cores_first(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr("ingot.report.measure._core", lambda cpu: f"core {cpu // 2}")
    assert choose_cpus(2) == (0, 2)
    assert choose_cpus(3) == (0, 1, 2)


def test_real_processes_are_measured(classifier):
    cpus = choose_cpus(1)
    settings = MeasureSettings(threads=1, cpus=cpus, runs=20, rounds=2)
    told = []
    with (
        Worker("a", "onnxruntime", classifier, threads=1, cpus=cpus) as first,
        Worker("b", "onnxruntime", classifier, threads=1, cpus=cpus) as second,
    ):
        measured = measure(
            [first, second],
            {"x": np.zeros((1, 4), np.float32)},
            settings,
            lambda *step: told.append(step),
        )
    assert [m.name for m in measured] == ["a", "b"]
    assert all(m.milliseconds.shape == (20,) and (m.milliseconds > 0).all() for m in measured)
    assert all(m.peak_bytes >= m.baseline_bytes for m in measured)
    assert told[-1] == ("measuring in turn", 2, 2)
