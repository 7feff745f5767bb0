from __future__ import annotations

import pytest

from ingot.errors import UsageError
from ingot.serving.batching.policy import BatchPolicy


@pytest.mark.parametrize(
    ("waiting", "waited", "rows"),
    [
        (1, 0.0, 0),
        (1, 0.2, 1),
        (3, 0.0, 0),
        (4, 0.0, 4),
        (7, 0.0, 4),
        (7, 0.2, 4),
        (8, 0.0, 8),
        (20, 0.0, 8),
    ],
)
def test_a_batch_runs_when_it_is_of_a_preferred_size_full_or_has_waited(
    waiting: int, waited: float, rows: int
) -> None:
    policy = BatchPolicy(max_batch_size=8, max_delay=0.1, preferred_sizes=(4,))
    assert policy.rows_to_run(waiting, waited) == rows


def test_without_a_delay_nothing_waits_for_others() -> None:
    assert BatchPolicy(max_batch_size=8).rows_to_run(1, 0.0) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch_size": 0},
        {"max_queue": 0},
        {"instances": 0},
        {"max_delay": -1.0},
        {"timeout": 0.0},
        {"max_batch_size": 4, "preferred_sizes": (5,)},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        BatchPolicy(**wrong)  # type: ignore[arg-type]
