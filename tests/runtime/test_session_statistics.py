"""A session counts what it does, whoever calls it and however."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.errors import InputError
from ingot.runtime import Session

IMAGE = np.zeros((1, 3, 16, 16), np.float32)


def test_inferences_and_errors_are_counted(small_artifact: Artifact) -> None:
    with Session(small_artifact.path, threads=1) as session:
        assert session.stats().inferences == 0
        for _ in range(25):
            session.run({"image": IMAGE})
        with pytest.raises(InputError):
            session.run({"image": IMAGE[:, :2]})
        figures = session.stats()
    assert (figures.inferences, figures.errors) == (25, 1)
    assert figures.model == session.manifest.name
    latency = figures.latency
    assert latency.samples == 25
    assert 0 < latency.p50 <= latency.p95
    assert latency.p99 is None
    assert figures.throughput == pytest.approx(25 / figures.window_seconds)
    assert sum(figures.durations.counts) == 25
    assert figures.memory.arena.now > 0
    assert figures.memory.arena.peak >= figures.memory.arena.now


def test_callers_on_several_threads_are_all_counted(small_artifact: Artifact) -> None:
    with Session(small_artifact.path, threads=1) as session:

        def work() -> None:
            for _ in range(20):
                session.run({"image": IMAGE})

        callers = [threading.Thread(target=work) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert session.stats().inferences == 60


def test_bound_runs_are_counted(small_artifact: Artifact) -> None:
    with Session(small_artifact.path, threads=1) as session:
        bound = session.bind({}, sizes={"N": 1})
        for _ in range(3):
            bound.run()
        assert session.stats().inferences == 3


def test_timed_runs_are_counted(small_artifact: Artifact) -> None:
    with Session(small_artifact.path, threads=1) as session:
        session.run_timed({"image": IMAGE})
        assert session.stats().inferences == 1


def test_metrics_of_the_applications_own_stand_beside(small_artifact: Artifact) -> None:
    with Session(small_artifact.path, threads=1) as session:
        session.metrics.counter("requests", "Requests.").add(4)
        assert session.metrics is session.metrics
        page = session.stats().to_prometheus()
    name = session.manifest.name
    assert f'requests_total{{model="{name}"}} 4\n' in page
    assert f'ingot_inferences_total{{model="{name}"}} 0\n' in page


def test_a_closed_session_still_says_what_it_did(small_artifact: Artifact) -> None:
    with Session(small_artifact.path, threads=1) as session:
        session.run({"image": IMAGE})
    assert session.stats().inferences == 1


def test_a_session_that_was_asked_goes_with_its_last_user(small_artifact: Artifact) -> None:
    session = Session(small_artifact.path, threads=1)
    session.run({"image": IMAGE})
    session.stats()
    gone = weakref.ref(session)
    gc.collect()
    gc.disable()
    try:
        del session
        assert gone() is None
    finally:
        gc.enable()
