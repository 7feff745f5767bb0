"""What sharing a loop costs is measured with the runtime's own threads."""

from __future__ import annotations

import numpy as np
import pytest

from ingot.report import launches


def test_a_launch_costs_less_than_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "_RUNS", 30)
    cost = launches.launch_seconds(2)
    assert cost is None or 0 <= cost < 1e-3


@pytest.mark.parametrize(
    ("shared", "alone", "cost"),
    [
        pytest.param(640e-6, 1000e-6, 140e-6 / 32, id="beside half of the work"),
        pytest.param(490e-6, 1000e-6, 0.0, id="noise is no gain"),
        pytest.param(950e-6, 1000e-6, None, id="no thread came"),
    ],
)
def test_the_cost_is_what_is_lost_against_half_of_the_time(
    shared: float, alone: float, cost: float | None
) -> None:
    found = launches.cost_of_a_launch(shared, alone, threads=2)
    assert found is None if cost is None else np.isclose(found, cost)
