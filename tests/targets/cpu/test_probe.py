"""Peaks bound times; measuring them gives plausible numbers on any machine."""

from __future__ import annotations

import dataclasses
import time

import pytest
from tvm import get_global_func as global_function

from ingot.targets.cpu.cost import multiplied
from ingot.targets.cpu.probe import Burst, Probe, Roofline


def threads_in_use() -> int:
    return int(global_function("runtime.NumThreads")())


PEAKS = Roofline(
    threads=2,
    gflops=200.0,
    int8_gops=500.0,
    l2_gbs=180.0,
    l3_gbs=100.0,
    dram_gbs=40.0,
    l2_bytes=1_000_000,
    l3_bytes=32_000_000,
)


@pytest.mark.parametrize(
    ("size", "gbs"),
    [(1, 180), (1_000_000, 180), (1_000_001, 100), (32_000_000, 100), (32_000_001, 40)],
)
def test_the_bandwidth_is_that_of_the_nearest_memory_that_holds_the_bytes(
    size: int, gbs: float
) -> None:
    assert PEAKS.bandwidth(size) == gbs


@pytest.mark.parametrize(
    ("operations", "size", "seconds"),
    [
        (200e9, 100, 1.0),  # the operations decide
        (10, 40_000_000, 1e-3),  # the bytes do
        (0, 0, 0.0),
    ],
)
def test_the_least_time_is_that_of_what_takes_longer(
    operations: float, size: int, seconds: float
) -> None:
    assert PEAKS.seconds(operations, size) == pytest.approx(seconds)


def test_operations_on_bfloat16_take_their_own_peak_where_there_is_one() -> None:
    twice = dataclasses.replace(PEAKS, bf16_gops=2 * PEAKS.gflops)
    assert twice.seconds(400e9, 100, "bfloat16") == pytest.approx(1.0)
    assert PEAKS.seconds(200e9, 100, "bfloat16") == pytest.approx(1.0)
    assert multiplied("bfloat16_matmul+add+relu") == "bfloat16"
    assert multiplied("integer_conv2d+add") == "int8"
    assert multiplied("conv2d+add") == "float32"


def test_operations_on_integers_take_their_own_peak() -> None:
    assert PEAKS.seconds(500e9, 100, "int8") == pytest.approx(1.0)
    assert PEAKS.seconds(10, 40_000_000, "int8") == pytest.approx(1e-3)


def test_the_mean_with_another_moment_is_that_of_each_peak() -> None:
    slower = Roofline(2, 100.0, 300.0, 90.0, 50.0, 20.0, 1_000_000, 32_000_000)
    mean = Roofline(2, 150.0, 400.0, 135.0, 75.0, 30.0, 1_000_000, 32_000_000)
    assert PEAKS.mean_with(slower) == mean


def test_a_burst_is_long_and_does_the_work_it_says() -> None:
    asked: list[int] = []

    def work(microseconds: int, rounds: int) -> None:
        asked.append(microseconds * rounds)
        time.sleep(asked[-1] / 1e6)

    burst = Burst(work, (10,), threads=1, work=10)
    asked.clear()
    burst()
    assert asked == [burst.work]
    assert burst.work > 100
    assert 0 < burst.peak() <= 1e-3  # one per microsecond at most


def test_how_long_a_burst_is_does_not_depend_on_when_other_threads_get_a_core() -> None:
    def work(microseconds: int, rounds: int) -> None:
        # As on a busy machine: a second thread is waited for, whatever it has to do.
        waiting = 0.05 if threads_in_use() > 1 else 0.0
        time.sleep(microseconds * rounds / 1e6 + waiting)

    assert Burst(work, (10,), threads=2, work=10).work > 1000


def test_this_machine_has_peaks() -> None:
    peaks = Probe().roofline(1)
    assert peaks.threads == 1
    assert min(peaks.gflops, peaks.int8_gops, peaks.l2_gbs, peaks.l3_gbs, peaks.dram_gbs) > 0.1
    assert peaks.l2_bytes > 0
