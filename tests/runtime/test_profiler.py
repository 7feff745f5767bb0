"""A profile says which kernels an inference calls, and leaves the session as it was."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.errors import InputError
from ingot.runtime import profiler
from ingot.runtime.profiler import profile


def test_each_kernel_has_its_calls_time_and_share(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    with small_artifact.session(threads=1) as session:
        found = profile(session, {"image": image}, inferences=3, warm_up=1)
    assert found.inferences == 3
    assert found.seconds > 0
    # Two convolutions, a mean and a product at least; each is called once.
    assert len(found.kernels) >= 4
    assert {kernel.calls for kernel in found.kernels} == {1}
    assert not any(kernel.name.startswith("vm.") for kernel in found.kernels)
    assert sum(kernel.share for kernel in found.kernels) == pytest.approx(1)
    seconds = [kernel.seconds for kernel in found.kernels]
    assert seconds == sorted(seconds, reverse=True)
    assert min(seconds) > 0


def test_a_session_computes_the_same_afterwards(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    with small_artifact.session(threads=2) as session:
        before = session.run(image)["logits"]
        profile(session, {"image": image}, inferences=1)
        noted: list[str] = []
        with session.instrumented(lambda _, name, *rest: noted.append(name) or 0):
            np.testing.assert_array_equal(session.run(image)["logits"], before)
        assert noted
        noted.clear()
        np.testing.assert_array_equal(session.run(image)["logits"], before)
        assert noted == []


def test_wrong_inputs_are_refused_as_ever(small_artifact: Artifact) -> None:
    with small_artifact.session() as session, pytest.raises(InputError, match="image"):
        profile(session, {"picture": np.zeros(3)})


def test_what_a_call_calls_is_not_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock is read twice before a call and once after it.
    clock = itertools.chain([0, 0, 10, 10, 25, 30, 30, 34, 40])
    monkeypatch.setattr(profiler.time, "perf_counter_ns", lambda: next(clock))
    stopwatch = profiler._Stopwatch()
    for name, before in [
        ("outer", True),
        ("inner", True),
        ("inner", False),
        ("inner", True),
        ("inner", False),
        ("outer", False),
    ]:
        assert stopwatch(None, name, before, None) == 0
    assert stopwatch.calls == {"inner": [15, 4], "outer": [40 - 15 - 4]}
