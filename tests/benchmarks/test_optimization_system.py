"""The benchmark of optimizations: what is compared, and what falls short of what users expect."""

from __future__ import annotations

import pytest

from benchmarks import optimization_system
from benchmarks.optimization_system import OptimizationRow, main
from ingot.data import open_dataset
from ingot.models.cifar10 import BUNDLED_CALIBRATION, BUNDLED_TEST


def row(optimization="int8", *, smaller=4.0, faster=2.5, lost=0.3):
    return OptimizationRow(
        model="net", optimization=optimization, smaller=smaller, faster=faster,
        faster_low=faster - 0.1, faster_high=faster + 0.1, metric="top-1", lost=lost,
        lost_low=lost - 0.2, lost_high=lost + 0.2, n=1000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "short_of"),
    [
        ({}, "reached"),
        ({"faster": 2.05}, "speed 2.1x"),
        ({"smaller": 3.9, "lost": 1.1}, "size 4x, loss 1"),
        ({"optimization": "optimize", "faster": 0.5}, ""),
    ],
)
def test_the_point_estimates_say_what_is_reached(changes, short_of):
    assert row(**changes).short_of == short_of


def test_a_row_is_measured_of_real_artifacts(monkeypatch, capsys, tmp_path):
    def bundled(source, inputs, folder, limit):
        del folder
        return open_dataset(BUNDLED_TEST, source.preprocessing, inputs, limit=limit)

    monkeypatch.setattr(optimization_system, "judged_data", bundled)
    code = main(
        ["--models", "cifar_resnet", "--optimizations", "graph fusion", "--limit", "20",
         "--runs", "4", "--data", str(BUNDLED_CALIBRATION.parent), "--state", str(tmp_path)]
    )  # fmt: skip
    assert code == 0
    printed = capsys.readouterr().out
    assert "cifar_resnet, graph fusion: " in printed
    assert "| graph fusion |" in printed.replace("  ", " ")
