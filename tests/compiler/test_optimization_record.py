"""What an optimization tried."""

import pytest

from ingot.compiler.accuracy.judgement import Judgement
from ingot.compiler.optimization_record import Optimization, StepTrial, read_optimization


def trial(name, speed, loss):
    judgement = Judgement(
        metric="top-1", unit="%", examples=100, reference=90.0, value=90.0 - loss, loss=loss,
        low=loss - 1, high=loss + 1, budget=0.5,
    )  # fmt: skip
    return StepTrial(
        name=name, steps=(name,), decision="rejected", reason="a test", accuracy=judgement,
        speed_against_reference=speed,
    )  # fmt: skip


def optimization(*trials):
    return Optimization(
        goal="latency", budget=0.5, reference="fp32", kept=(), trials=trials, speed=None,
        accuracy=None, bytes=1, reference_bytes=1, threads=1, machine="a CPU",
    )  # fmt: skip


def test_the_front_has_what_nothing_beats_in_both():
    slow, fast = trial("exact", 1.0, 0.0), trial("fast", 3.0, 0.4)
    found = optimization(slow, trial("beaten", 2.0, 0.5), fast, trial("untimed", None, 0.0))
    assert found.front == (fast, slow)


def test_what_is_read_is_what_was_written():
    found = optimization(trial("a", 1.0, 0.0))
    assert read_optimization({"optimization": found.model_dump(mode="json")}) == found
    assert read_optimization({}) is None
    with pytest.raises(ValueError, match="goal"):
        read_optimization({"optimization": {"kept": []}})
