"""A profile says which kernels an inference calls, and leaves the session as it was."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.errors import InputError
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
        outputs, events = session.run_timed(image)
        np.testing.assert_array_equal(outputs["logits"], before)
        assert len(list(events)) >= 4
        assert all(start <= end for _, start, end in events)
        np.testing.assert_array_equal(session.run(image)["logits"], before)


def test_wrong_inputs_are_refused_as_ever(small_artifact: Artifact) -> None:
    with small_artifact.session() as session, pytest.raises(InputError, match="image"):
        profile(session, {"picture": np.zeros(3)})
