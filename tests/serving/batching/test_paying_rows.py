"""Batches are as large as makes a row cheaper."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from ingot.runtime.manifest import TensorSpec
from ingot.serving.batching.paying_rows import PayingRows
from ingot.serving.batching.policy import BatchPolicy
from ingot.serving.batching.queueing import Ticket
from ingot.serving.batching.scheduler import Scheduler
from ingot.serving.requests import InferenceRequest, Outcome

Cost = Callable[[int], float]
FULL = 1_000_000


def dear(rows: int) -> float:
    """Milliseconds of a model whose rows cost more in a larger batch."""
    return 4.0 * rows * (1.0 + 0.02 * rows)


def shared(rows: int) -> float:
    """Milliseconds of a model that mostly does the same for a batch of any size."""
    return 10.0 + 0.1 * rows


def up_to_eight(rows: int) -> float:
    """Milliseconds of a model whose rows get cheaper up to eight of them."""
    return 4.0 * -(-rows // 8) + 1.0 * rows


def loaded(paying: PayingRows, cost: Cost, batches: int) -> list[int]:
    """Runs batches while more wait than fit; returns their sizes."""
    sizes = []
    for _ in range(batches):
        rows = paying.next_rows(FULL)
        paying.add(rows, cost(rows))
        sizes.append(rows)
    return sizes


@pytest.mark.parametrize(
    ("cost", "best"),
    [(dear, 1), (shared, 32), (up_to_eight, 8)],
    ids=["dear", "shared", "up-to-eight"],
)
def test_a_load_shows_how_many_rows_pay(cost: Cost, best: int) -> None:
    paying = PayingRows(32)
    loaded(paying, cost, 600)
    assert paying.rows == best
    sizes = loaded(paying, cost, 5000)
    assert sum(size for size in sizes if size == best) / sum(sizes) > 0.99
    assert set(sizes) != {best}  # others are looked at now and then


def test_nothing_known_is_no_reason_for_small_batches() -> None:
    paying = PayingRows(32)
    assert paying.rows == 32
    for _ in range(10):
        paying.add(1, 1.0)
    assert paying.rows == 32


def test_a_model_that_became_another_is_learned_anew() -> None:
    paying = PayingRows(32)
    loaded(paying, dear, 200)
    loaded(paying, shared, 20_000)
    assert paying.rows == 32


def test_one_interrupted_batch_changes_nothing() -> None:
    paying = PayingRows(32)
    loaded(paying, up_to_eight, 200)
    paying.add(8, 1000.0)
    loaded(paying, up_to_eight, 40)
    assert paying.rows == 8


def test_a_batch_is_filled_up_only_where_that_was_faster() -> None:
    paying = PayingRows(32, preferred=(8, 16))
    assert paying.padded(7) == 7
    for _ in range(5):
        paying.add(7, 9.0)
        paying.add(8, 5.0)
        paying.add(12, 9.0)
        paying.add(16, 10.0)
    assert paying.padded(7) == 8
    assert paying.padded(12) == 12
    assert paying.padded(8) == 8
    assert paying.padded(20) == 20
    assert {paying.padded(7) for _ in range(100)} == {7, 8}  # what it costs otherwise is looked at


class Clock:
    """Seconds that pass only where a model runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("cost", "best"), [(dear, 1), (shared, 16)], ids=["dear", "shared"])
def test_a_scheduler_runs_batches_of_the_size_that_pays(cost: Cost, best: int) -> None:
    clock, batches = Clock(), list[int]()

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        rows = len(inputs["x"])
        batches.append(rows)
        clock.now += cost(rows)
        return {"y": inputs["x"] + 1}

    spec = TensorSpec("x", "float32", ("N", 1))
    policy = BatchPolicy(max_batch_size=16, max_queue=10_000)
    outputs = [TensorSpec("y", "float32", ("N", 1))]
    scheduler = Scheduler("m", run, [spec], outputs, policy, clock=clock)
    done = threading.Semaphore(0)
    wrong: list[Outcome] = []

    def answered(ticket: Ticket, outcome: Outcome) -> None:
        expected = ticket.request.inputs["x"] + 1
        if not isinstance(outcome, Mapping) or not np.array_equal(outcome["y"], expected):
            wrong.append(outcome)
        done.release()

    for value in range(4000):
        scheduler.submit(InferenceRequest({"x": np.full((1, 1), value, np.float32)}), answered)
    for _ in range(4000):
        assert done.acquire(timeout=10)
    scheduler.close(10)
    assert not wrong
    late = batches[len(batches) // 2 : -10]
    assert late.count(best) / len(late) > 0.8


def test_padded_rows_reach_nobody() -> None:
    clock, batches = Clock(), list[int]()

    def run(inputs: Mapping[str, Any]) -> dict[str, Any]:
        rows = len(inputs["x"])
        batches.append(rows)
        clock.now += 1.0 if rows % 4 == 0 else 5.0
        return {"y": 2 * inputs["x"]}

    spec = TensorSpec("x", "float32", ("N", 1))
    policy = BatchPolicy(max_batch_size=4, preferred_sizes=(4,))
    outputs = [TensorSpec("y", "float32", ("N", 1))]
    scheduler = Scheduler("m", run, [spec], outputs, policy, clock=clock)
    answers: list[Outcome] = []
    came = threading.Semaphore(0)

    def answered(ticket: Ticket, outcome: Outcome) -> None:
        answers.append(outcome)
        came.release()

    for rows in [4, 3] * 10:
        scheduler.submit(InferenceRequest({"x": np.ones((rows, 1), np.float32)}), answered)
        assert came.acquire(timeout=10)
    scheduler.close(10)
    assert 3 in batches[:8]
    assert batches.count(4) > batches.count(3)
    for rows, outcome in zip([4, 3] * 10, answers, strict=True):
        assert isinstance(outcome, Mapping)
        np.testing.assert_array_equal(outcome["y"], np.full((rows, 1), 2, np.float32))
