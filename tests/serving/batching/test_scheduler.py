"""Requests of one model: joined, bounded, and each with its own outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from ingot.errors import InputError
from ingot.runtime.manifest import TensorSpec
from ingot.serving.batching.policy import BatchPolicy
from ingot.serving.batching.queueing import Ticket
from ingot.serving.batching.scheduler import Scheduler
from ingot.serving.requests import Cause, InferenceRequest, Outcome, RefusedError

INPUTS = [TensorSpec("x", "float32", ("N", 1))]
OUTPUTS = [TensorSpec("y", "float32", ("N", 1))]
SOON = 10.0


class Model:
    """Doubles; runs when it is let, and fails on NaN."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_run = threading.Event()
        self.may_run.set()

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        assert self.may_run.wait(SOON)
        x = inputs["x"]
        self.batches.append(len(x))
        if np.isnan(x).any():
            raise InputError("NaN came")
        return {"y": 2 * x}


class Answers:
    """Outcomes in the order in which they came."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[Ticket, Outcome]] = []
        self._came = threading.Condition()

    def __call__(self, ticket: Ticket, outcome: Outcome) -> None:
        with self._came:
            self.outcomes.append((ticket, outcome))
            self._came.notify_all()

    def wait(self, count: int) -> list[tuple[Ticket, Outcome]]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.outcomes) >= count, SOON)
            return self.outcomes


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def scheduler(model: Model) -> Iterator[Any]:
    made: list[Scheduler] = []

    def make(**policy: Any) -> Scheduler:
        made.append(Scheduler("m", model, INPUTS, OUTPUTS, BatchPolicy(**policy)))
        return made[-1]

    yield make
    model.may_run.set()
    for each in made:
        each.close(SOON)


def request(value: float, rows: int = 1, **said: Any) -> InferenceRequest:
    return InferenceRequest({"x": np.full((rows, 1), value, np.float32)}, **said)


def hold(scheduler: Scheduler, model: Model, answers: Answers) -> None:
    """Has the only instance run a request until it is let go, so that others wait."""
    model.may_run.clear()
    scheduler.submit(request(0), answers)
    until = time.monotonic() + SOON
    while not scheduler.running:
        assert time.monotonic() < until
        time.sleep(0.001)


def test_what_waits_while_a_batch_runs_goes_together(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler(max_batch_size=8)
    hold(one, model, answers)
    for value in range(1, 6):
        one.submit(request(value), answers)
    model.may_run.set()
    outcomes = answers.wait(6)
    assert model.batches == [1, 5]
    for ticket, outcome in outcomes:
        np.testing.assert_array_equal(outcome["y"], 2 * ticket.request.inputs["x"])  # type: ignore[call-overload, index]


def test_a_batch_has_no_more_rows_than_it_may(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler(max_batch_size=4)
    hold(one, model, answers)
    for rows in (3, 2, 2, 7):
        one.submit(request(1, rows), answers)
    model.may_run.set()
    answers.wait(5)
    assert model.batches == [1, 3, 4, 7]


def test_an_error_is_of_the_request_that_causes_it(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler(max_batch_size=8)
    hold(one, model, answers)
    for value in (1, float("nan"), 3):
        one.submit(request(value), answers)
    model.may_run.set()
    outcomes = [outcome for _, outcome in answers.wait(4)][1:]
    assert isinstance(outcomes[1], RefusedError)
    assert outcomes[1].cause is Cause.INVALID
    np.testing.assert_array_equal(outcomes[0]["y"], [[2]])  # type: ignore[call-overload, index]
    np.testing.assert_array_equal(outcomes[2]["y"], [[6]])  # type: ignore[call-overload, index]


def test_a_full_line_refuses_at_once_and_says_when_to_come_back(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler(max_queue=2)
    hold(one, model, answers)
    one.submit(request(1), answers)
    one.submit(request(2), answers)
    with pytest.raises(RefusedError, match="no more may") as refused:
        one.submit(request(3), answers)
    assert refused.value.cause is Cause.OVERLOADED
    assert refused.value.retry_after is not None
    model.may_run.set()
    assert len(answers.wait(3)) == 3


def test_a_cancelled_request_frees_its_place(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler(max_queue=1)
    hold(one, model, answers)
    one.cancel(one.submit(request(1), answers))
    one.submit(request(2), answers)
    model.may_run.set()
    outcomes = answers.wait(2)
    assert [float(ticket.request.inputs["x"][0, 0]) for ticket, _ in outcomes] == [0, 2]


def test_a_deadline_that_has_passed_is_refused_and_not_computed(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler(max_batch_size=4)
    hold(one, model, answers)
    one.submit(request(1, deadline=time.monotonic() + 0.02), answers)
    time.sleep(0.05)
    model.may_run.set()
    outcomes = answers.wait(2)
    assert isinstance(outcomes[1][1], RefusedError)
    assert outcomes[1][1].cause is Cause.DEADLINE
    assert model.batches == [1]


def test_a_deadline_that_cannot_be_met_is_refused_when_the_request_comes(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler()
    model.may_run.clear()
    one.submit(request(0), answers)
    time.sleep(0.05)  # what a batch seems to take from now on
    model.may_run.set()
    answers.wait(1)
    with pytest.raises(RefusedError, match="later than the request's deadline"):
        one.submit(request(1, deadline=time.monotonic() + 0.001), answers)


def test_a_timeout_is_of_the_waiting(scheduler: Any, model: Model, answers: Answers) -> None:
    one = scheduler(timeout=0.02)
    hold(one, model, answers)
    one.submit(request(1), answers)
    time.sleep(0.05)
    model.may_run.set()
    assert isinstance(answers.wait(2)[1][1], RefusedError)


def test_urgent_requests_overtake(scheduler: Any, model: Model, answers: Answers) -> None:
    one = scheduler()
    hold(one, model, answers)
    one.submit(request(1), answers)
    one.submit(request(2, priority=1), answers)
    model.may_run.set()
    order = [float(ticket.request.inputs["x"][0, 0]) for ticket, _ in answers.wait(3)]
    assert order == [0, 2, 1]


def test_a_request_waits_for_others_no_longer_than_it_may(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler(max_batch_size=8, max_delay=0.05)
    begin = time.monotonic()
    one.submit(request(1), answers)
    one.submit(request(2), answers)
    answers.wait(2)
    assert time.monotonic() - begin >= 0.05
    assert model.batches == [2]


def test_closing_answers_what_waits_and_refuses_what_comes(
    scheduler: Any, model: Model, answers: Answers
) -> None:
    one = scheduler(max_batch_size=8, max_delay=SOON)
    one.submit(request(1), answers)
    one.close(SOON)
    assert len(answers.wait(1)) == 1
    with pytest.raises(RefusedError) as refused:
        one.submit(request(2), answers)
    assert refused.value.cause is Cause.UNAVAILABLE


def test_several_instances_run_at_a_time(scheduler: Any, model: Model, answers: Answers) -> None:
    one = scheduler(instances=2)
    model.may_run.clear()
    one.submit(request(1), answers)
    one.submit(request(2), answers)
    until = time.monotonic() + SOON
    while one.running < 2:
        assert time.monotonic() < until
        time.sleep(0.001)
    model.may_run.set()
    answers.wait(2)


def test_many_callers_get_each_their_own(scheduler: Any, model: Model, answers: Answers) -> None:
    one = scheduler(max_batch_size=16, instances=2, max_queue=100_000)

    def call(first: int) -> None:
        for value in range(first, first + 200):
            one.submit(request(value), answers)

    threads = [threading.Thread(target=call, args=(1000 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ticket, outcome in answers.wait(800):
        np.testing.assert_array_equal(outcome["y"], 2 * ticket.request.inputs["x"])  # type: ignore[call-overload, index]
