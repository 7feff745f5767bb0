"""The probes answer as an engine does."""

import os

import pytest

from ingot.report.process import Worker

CPUS = tuple(sorted(os.sched_getaffinity(0))[:2])


@pytest.mark.parametrize("probe", ["probe", "integer_probe"])
@pytest.mark.parametrize("threads", [1, 2])
def test_its_runs_are_bursts_of_known_work(tmp_path, threads, probe):
    with Worker("the probe", probe, tmp_path, threads=threads, cpus=CPUS) as worker:
        assert (worker.inputs, worker.outputs) == ((), ())
        worker.set_inputs({})
        nanoseconds = worker.time(3)
        assert nanoseconds.shape == (3,)
        # Long enough to tell, and not the work of a machine that does not exist.
        assert nanoseconds.min() > 1e5
        assert 0.1 < worker.facts["operations"] / nanoseconds.min() < 1e5
