"""All figures of a session together, on a machine that tells its power and on one that does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.runtime import Session
from ingot.runtime.recorder import Recorder
from ingot.runtime.statistics import ArenaMemory, Monitor, Power, Unavailable
from tests.runtime.statistics.test_power import SECOND, Clock, rapl, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/self", {"status": "Name:\tx\nVmHWM:\t   200 kB\nVmRSS:\t   100 kB"})
    return tmp_path


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def record(recorder: Recorder, count: int) -> None:
    now = time.perf_counter_ns()
    for _ in range(count):
        recorder.record(now - 1000, now)


def test_energy_is_shared_out_among_the_inferences(root: Path, recorder: Recorder) -> None:
    clock = Clock()
    energy = rapl(root, "intel-rapl:0", "package-0", 0)
    monitor = Monitor("net", recorder, root=root, clock=clock)
    assert monitor.read().power == Unavailable("watched for less than 0.1 s: ask again")
    record(recorder, 4)
    clock.now, _ = 10 * SECOND, energy.write_text("200000000")
    figures = monitor.read()
    assert figures.power == Power(20.0, 200.0, "RAPL package-0", "package-0 of the whole machine")
    assert figures.energy_per_inference == 50.0
    clock.now, _ = 100 * SECOND, energy.write_text("290000000")
    figures = monitor.read()
    assert isinstance(figures.power, Power)
    assert (figures.power.watts, figures.power.joules) == (1.0, 290.0)
    assert figures.energy_per_inference == Unavailable("no inference within the window")


def test_after_a_wrap_that_nobody_saw_it_begins_anew(root: Path, recorder: Recorder) -> None:
    clock = Clock()
    energy = rapl(root, "intel-rapl:0", "package-0", 0)
    monitor = Monitor("net", recorder, root=root, clock=clock)
    record(recorder, 4)
    clock.now = 1000 * SECOND
    assert isinstance(monitor.read().power, Unavailable)
    record(recorder, 2)
    clock.now, _ = 1010 * SECOND, energy.write_text("100000000")
    figures = monitor.read()
    assert isinstance(figures.power, Power)
    assert (figures.power.watts, figures.energy_per_inference) == (10.0, 50.0)


def test_a_counter_that_goes_away_is_no_error(root: Path, recorder: Recorder) -> None:
    energy = rapl(root, "intel-rapl:0", "package-0", 0)
    monitor = Monitor("net", recorder, root=root, clock=Clock())
    energy.unlink()
    power = monitor.read().power
    assert isinstance(power, Unavailable)
    assert "RAPL package-0 cannot be read any more" in power.reason


def test_a_sensor_tells_power_and_no_energy(root: Path, recorder: Recorder) -> None:
    write(root / "sys/class/hwmon/hwmon0", {"name": "power_meter", "power1_average": 90_000_000})
    figures = Monitor("net", recorder, root=root).read()
    assert figures.power == Power(90.0, None, "hwmon power_meter", "the whole machine")
    assert figures.energy_per_inference == Unavailable(
        "hwmon power_meter tells power now, and no energy"
    )


def test_memory_is_the_processes_and_the_sessions(root: Path, recorder: Recorder) -> None:
    monitor = Monitor("net", recorder, root=root, arena=lambda: ArenaMemory(3, 5))
    memory = monitor.read().memory
    assert (memory.resident, memory.peak, memory.arena) == (102400, 204800, ArenaMemory(3, 5))
    assert not Monitor("net", recorder, root=root).read().memory.arena
    (root / "proc/self/status").write_text("Name:\tx\n")
    with pytest.raises(OSError, match="says nothing of memory"):
        monitor.read()


def test_this_machine_gives_every_figure_or_a_reason(recorder: Recorder) -> None:
    monitor = Monitor("net", recorder)
    record(recorder, 1)
    recorder.record_error()
    figures = monitor.read()
    assert (figures.inferences, figures.errors) == (1, 1)
    assert figures.memory.peak >= figures.memory.resident > 1 << 20
    assert figures.cpu.seconds > 0
    for figure in (figures.gpus, figures.power, figures.energy_per_inference):
        assert figure or (isinstance(figure, Unavailable) and figure.reason)


def test_a_forked_child_begins_at_zero_and_waits_for_no_lock_of_its_parent(
    recorder: Recorder,
) -> None:
    monitor = Monitor("net", recorder)
    record(recorder, 3)
    counter = monitor.metrics.counter("mine", "")
    counter.add(5)
    with monitor._lock, recorder._lock, counter._lock:  # as other threads may hold them
        child = os.fork()
        if child == 0:
            code = 1
            try:
                record(recorder, 1)
                counter.add(2)
                figures = monitor.read()
                mine = figures.custom[0].samples[0].value
                code = 0 if (figures.inferences, mine) == (1, 2) else 2
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert monitor.read().inferences == 3


def test_it_needs_the_base_install_alone() -> None:
    """A process in which nothing but NumPy can be imported beside the standard library."""
    missing = ("tvm", "psutil", "pydantic", "rich", "typer", "opentelemetry", "prometheus_client")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
        "from ingot.runtime.recorder import Recorder\n"
        "assert not any(name.startswith('ingot.runtime.statistics') for name in sys.modules)\n"
        "from ingot.runtime.statistics import Monitor\n"
        "recorder = Recorder()\n"
        "recorder.record(1, 2)\n"
        "figures = Monitor('net', recorder).read()\n"
        "assert figures.to_openmetrics().endswith('# EOF\\n')\n"
        "print(figures)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "inferences  1, and 0 failed" in done.stdout


def test_a_session_tells_the_peaks_of_its_phases(small_artifact: Artifact) -> None:
    with Session(small_artifact.path, threads=1) as session:
        before = session.stats().memory.phases
        assert before.load > 0 and before.inference is None and before.batch is None
        for batch in (2, 1, 3):
            session.run(np.zeros((batch, 3, 16, 16), np.float32))
        after = session.stats().memory.phases
    assert 0 < after.inference < after.batch
    assert after.optimization >= max(small_artifact.manifest.measured["stage_peak_bytes"].values())
