"""What was measured of a machine is kept for it alone, and used where that is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ingot.errors import UsageError
from ingot.files import CACHE_VARIABLE
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.microarchitecture.measured import (
    Measurement,
    store_measurement,
    stored_measurement,
    three_digits,
)
from ingot.targets.registry import parse_target

FOUND = Measurement({"multiply_add_latency": 6.0, "launch_cycles": 1230.0}, 3.6, 2, 1.5e9)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(name="cpu")
def _cpu() -> CpuDescription:
    return describe_cpu("native", None)


def test_what_is_kept_is_read_back(cpu: CpuDescription) -> None:
    assert stored_measurement(cpu) is None
    store_measurement(cpu, FOUND)
    assert stored_measurement(cpu) == FOUND


def test_another_processor_has_its_own(cpu: CpuDescription) -> None:
    store_measurement(cpu, FOUND)
    for other in ({"mcpu": "other"}, {"features": ()}, {"cores": cpu.cores + 1}):
        assert stored_measurement(dataclasses.replace(cpu, **other)) is None


def test_what_is_damaged_counts_as_not_measured(cpu: CpuDescription) -> None:
    path = store_measurement(cpu, FOUND)
    path.write_bytes(path.read_bytes()[:-3])
    assert stored_measurement(cpu) is None


def test_a_probed_target_is_planned_by_it_and_says_so(cpu: CpuDescription) -> None:
    store_measurement(cpu, FOUND)
    spec = parse_target("cpu:probed=true,threads=2").spec
    assert spec.endswith(",multiply_add_latency=6,launch_cycles=1230")
    assert "probed" not in spec  # what it says suffices on any machine
    assert parse_target(spec).spec == spec


def test_what_is_stated_goes_before_what_was_measured(cpu: CpuDescription) -> None:
    store_measurement(cpu, FOUND)
    assert "multiply_add_latency=5," in parse_target("cpu:probed=true,multiply_add_latency=5").spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cpu:probed=true", "this machine has not been measured: run `ingot probe` first"),
        ("cpu:probed=true,mcpu=generic", "only this machine can be probed: leave out mcpu=generic"),
    ],
)
def test_what_cannot_be_planned_by_measurement_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _ = parse_target(spec).spec


@pytest.mark.parametrize(
    ("value", "shown"), [(18756.7, 18800.0), (0.91549, 0.915), (4.0, 4.0), (1e-9, 1e-9)]
)
def test_three_digits_are_kept(value: float, shown: float) -> None:
    assert three_digits(value) == shown
