"""Kernels against the peaks of this machine, where the trace is of this kind of machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.report.traces.events import Trace
from ingot.report.traces.kernels import Peaks, kernel_figures, peaks_for
from ingot.report.traces.reading import read_trace
from ingot.report.traces.selection import Selection
from ingot.targets.cpu.probe import Roofline
from tests.report.traces.sample import chrome, complete, session_trace

PEAKS = Roofline(
    threads=1, gflops=100, int8_gops=400, l2_gbs=50, l3_gbs=20, dram_gbs=10, l2_bytes=1 << 20,
    l3_bytes=1 << 24,
)  # fmt: skip


def kernel(name: str, duration: float, **args: object) -> dict[str, object]:
    return complete(name, 0, duration, cat="kernel", args=args)


def test_a_kernel_s_figures(tmp_path: Path) -> None:
    costs = {"operations": 2_000_000, "bytes": 40_000, "artifact": "net"}
    records = [
        kernel("conv", 40, operators="conv2d", **costs),
        kernel("conv", 60, operators="conv2d", **costs),
        kernel("conv", 100, operators="conv2d", **{**costs, "artifact": "other"}),
        kernel("move", 100, operations=0, bytes=500_000),
        kernel("open", 100, operators="conv2d"),
        complete("run", 0, 1000, cat="session"),
    ]
    rows = kernel_figures(read_trace(chrome(tmp_path / "t.json", records)), PEAKS)
    found = {(row.artifact, row.kernel): row for row in rows}
    conv = found["net", "conv"]
    assert (conv.operators, conv.calls, conv.p50_us, conv.total_us) == ("conv2d", 2, 50, 100)
    # In the median: 50 and 33.3 operations per nanosecond.
    assert (conv.gops, conv.gbs) == (pytest.approx(125 / 3), pytest.approx(2.5 / 3))
    assert (conv.share, conv.percent_of_roofline) == (0.25, pytest.approx(125 / 3))
    assert found["other", "conv"].percent_of_roofline == pytest.approx(20)
    assert found[None, "move"].percent_of_roofline == pytest.approx(10)
    assert found[None, "open"].gops is found[None, "open"].percent_of_roofline is None


def test_integer_kernels_take_the_peak_of_integers(tmp_path: Path) -> None:
    records = [kernel("q", 100, operators="integer_conv2d", operations=4_000_000, bytes=1)]
    (row,) = kernel_figures(read_trace(chrome(tmp_path / "t.json", records)), PEAKS)
    assert row.percent_of_roofline == pytest.approx(10)


def test_a_disturbed_call_and_one_without_a_time(tmp_path: Path) -> None:
    costs = {"operators": "conv2d", "operations": 2_000_000, "bytes": 40_000}
    lengths = [40, 40, 40_000]
    calls = [complete("k", 0, each, cat="kernel", args=costs) for each in lengths]
    (row,) = kernel_figures(read_trace(chrome(tmp_path / "t.json", calls)), PEAKS)
    assert (row.gops, row.percent_of_roofline) == (50, pytest.approx(50))
    calls.append(complete("k", 0, 0, cat="kernel", args=costs))
    (row,) = kernel_figures(read_trace(chrome(tmp_path / "t.json", calls)), PEAKS)
    assert row.gops is row.gbs is row.percent_of_roofline is None


@pytest.mark.parametrize("key", ["operations", "bytes"])
@pytest.mark.parametrize("stated", ["1e999", "NaN"])
def test_work_that_is_no_number_is_not_stated(tmp_path: Path, key: str, stated: str) -> None:
    costs = {"operators": "conv2d", "operations": 2_000_000, "bytes": 40_000, key: 123456789}
    path = chrome(tmp_path / "t.json", [complete("k", 0, 40, cat="kernel", args=costs)])
    path.write_text(path.read_text().replace("123456789", stated))
    assert peaks_for(read_trace(path)) == Peaks()


def test_without_peaks_there_is_no_percentage(tmp_path: Path) -> None:
    trace = read_trace(session_trace(2).save(tmp_path / "t.json"))
    assert all(row.percent_of_roofline is None and row.gops for row in kernel_figures(trace, None))


def test_peaks_are_those_of_the_trace_s_kind_of_machine(tmp_path: Path) -> None:
    found = peaks_for(read_trace(session_trace(2).save(tmp_path / "here.json")))
    assert found.roofline is not None
    assert (found.roofline.threads, found.reason) == (1, None)
    there = peaks_for(read_trace(session_trace(2, cpu="Z80").save(tmp_path / "there.json")))
    assert there.roofline is None
    assert "another machine (Z80)" in str(there.reason)
    foreign = chrome(tmp_path / "foreign.json", [kernel("k", 1, operations=1, bytes=1)])
    assert "a machine that it does not name" in str(peaks_for(read_trace(foreign)).reason)


def test_nothing_is_measured_where_no_kernel_states_what_it_does(tmp_path: Path) -> None:
    trace = read_trace(session_trace(2).save(tmp_path / "here.json"))
    assert peaks_for(Selection(stages=("run",)).apply(trace)) == Peaks()
    assert peaks_for(Trace(())) == Peaks()
