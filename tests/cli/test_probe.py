"""``ingot probe`` measures once, shows how far it is from the preset, and keeps what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingot.files import CACHE_VARIABLE
from ingot.report.rendering.formats import MISSING
from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.cpu.microarchitecture.presets import preset_of
from tests.command_line import Ingot

CPU = describe_cpu("native", None)
CORE = preset_of(CPU.mcpu, CPU.architecture, CPU.features).core


@pytest.fixture(autouse=True, name="asked")
def _asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measurements take no time, and are counted: half the preset's bytes, at 2 GHz."""
    asked: list[str] = []

    def measure_core(_: object) -> tuple[dict[str, float], float]:
        asked.append("core")
        return {
            "multiply_add_latency": CORE.multiply_add_latency,
            "l2_bytes_per_cycle": CORE.l2_bytes_per_cycle / 2,
        }, 2e9

    def launch_seconds(_: int) -> float:
        asked.append("launch")
        return 1e-6

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("ingot.cli.probe.measure_core", measure_core)
    monkeypatch.setattr("ingot.cli.probe.launch_seconds", launch_seconds)
    monkeypatch.setattr("ingot.targets.cpu.machine.usable_cpus", lambda: 2)
    return asked


def test_the_preset_stands_beside_what_was_measured(ingot: Ingot) -> None:
    lines = ingot("probe").out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if "per_cycle" in line}
    assert rows["l2_bytes_per_cycle"][0] == f"{CORE.l2_bytes_per_cycle:g}"
    assert rows["l2_bytes_per_cycle"][2] == "0.50"
    assert rows["loads_per_cycle"][1:] == [MISSING, MISSING]
    factor = (2 * CORE.launch_cycles / 2000) ** (1 / 3)
    assert f"at 2 GHz: apart by a factor of {factor:.2f} on average." in "\n".join(lines)


def test_it_is_measured_once(ingot: Ingot, asked: list[str]) -> None:
    ingot("probe")
    assert ingot("probe").code == 0
    assert asked == ["core", "launch"]
    ingot("probe", "--refresh")
    assert asked == ["core", "launch"] * 2


def test_json_has_the_sources_too(ingot: Ingot) -> None:
    document = json.loads(ingot("probe", "--json").out)
    assert document["measured"]["fields"]["launch_cycles"] == 2000
    assert document["ratios"]["multiply_add_latency"] == 1
    assert document["preset"]["sources"]
    assert document["mcpu"] == CPU.mcpu


def test_what_a_busy_machine_cannot_tell_is_left_out(
    ingot: Ingot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingot.cli.probe.launch_seconds", lambda _: None)
    outcome = ingot("probe")
    assert "other work kept threads from coming" in " ".join(outcome.out.split())
    assert "launch_cycles" not in json.loads(ingot("probe", "--json").out)["measured"]["fields"]
