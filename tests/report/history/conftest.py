"""Made-up runs of a history."""

import math

import pytest

from ingot.report.history.runs import Found, Run

UNITS = {
    "latency_p50_ms": ("ms", False),
    "latency_p99_ms": ("ms", False),
    "throughput_per_s": ("per second", True),
    "memory_mb": ("MB", False),
    "size_mb": ("MB", False),
    "speed_x": ("x", True),
    "accuracy top-1": ("%", True),
}


def make_found(quantity="latency_p50_ms", value=10.0, error=0.0, **changes):
    """A figure; ``error`` is the standard error of its logarithm."""
    unit, higher = UNITS[quantity]
    reach = math.exp(1.96 * error)
    facts = {
        "quantity": quantity,
        "basis": "",
        "unit": unit,
        "higher_is_better": higher,
        "value": float(value),
        "low": value / reach,
        "high": value * reach,
    }
    return Found(**{**facts, **changes})


def make_run(*figures, **changes):
    """A run of the figures, or of one."""
    facts = {
        "model": "net",
        "recipe": "fp32",
        "target": "cpu:mcpu=znver3",
        "setting": "bench, threads=2 batch=1",
        "machine": "Imaginary 9000, 2 cores, 2 CPUs, avx2",
        "commit": None,
        "recorded": "2026-11-30T10:00:00+00:00",
        "facts": {"versions": {"ingot": "0.1.0"}},
        "figures": figures or (make_found(),),
    }
    return Run(**{**facts, **changes})


def make_runs(values, quantity="latency_p50_ms", error=0.0, **changes):
    """A run for each value, numbered as in a history."""
    return [
        make_run(make_found(quantity, value, error), number=number, **changes)
        for number, value in enumerate(values, start=1)
    ]


@pytest.fixture
def database(tmp_path):
    """Where a history may go."""
    return tmp_path / "history.db"
