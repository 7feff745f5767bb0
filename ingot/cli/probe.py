"""``ingot probe``: this machine's description, measured, against its processor's preset."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import Annotated, Any

import typer
from rich.table import Table

from ingot.cli.measuring import progress
from ingot.cli.text import result_console
from ingot.progress import Progress
from ingot.report.launches import launch_seconds
from ingot.report.machine import machine_facts, machine_warnings
from ingot.report.rendering import formats
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.microarchitecture.measured import (
    MEASURED,
    Measurement,
    store_measurement,
    stored_measurement,
    three_digits,
)
from ingot.targets.cpu.microarchitecture.measuring import measure_core
from ingot.targets.cpu.microarchitecture.presets import Preset, preset_of

_USE = "ingot compile --target cpu:probed=true"


def probe(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Measure again what was measured before.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print as JSON, with where the preset is from.")
    ] = False,
) -> None:
    """Measure what code is planned by, and say how far it is from the processor's preset.

    What was measured is kept, and `--target cpu:probed=true` plans code by it. Measure on an idle
    machine.

    Example: `ingot probe --refresh`
    """
    cpu = describe_cpu("native", None)
    preset = preset_of(cpu.mcpu, cpu.architecture, cpu.features)
    measurement = None if refresh else stored_measurement(cpu)
    if measurement is None:
        with progress() as tell:
            measurement = _measure(cpu, tell)
        store_measurement(cpu, measurement)
    if as_json:
        typer.echo(json.dumps(_document(cpu, preset, measurement), indent=2))
        return
    console = result_console()
    console.print(_table(preset, measurement))
    for line in _notes(cpu, preset, measurement):
        console.print(line, soft_wrap=True)


def _measure(cpu: CpuDescription, tell: Progress) -> Measurement:
    tell("measure a core", 0, 0)
    fields, clock = measure_core(cpu)
    if cpu.cores > 1:
        tell("measure launches", 0, 0)
        seconds = launch_seconds(cpu.cores)
        if seconds is not None:
            fields = {**fields, "launch_cycles": max(1.0, seconds * clock)}
    rounded = {name: three_digits(value) for name, value in fields.items()}
    return Measurement(rounded, three_digits(clock / 1e9), cpu.cores, time.time())


def _table(preset: Preset, measurement: Measurement) -> Table:
    table = Table("of a core", box=None, header_style="bold")
    for heading in ("preset", "measured", "ratio"):
        table.add_column(heading, justify="right")
    for name in MEASURED:
        expected, found = getattr(preset.core, name), measurement.fields.get(name)
        table.add_row(
            name,
            f"{expected:g}",
            formats.MISSING if found is None else f"{found:g}",
            formats.MISSING if found is None else f"{found / expected:.2f}",
        )
    return table


def _distance(preset: Preset, measurement: Measurement) -> float:
    """The factor by which the measured numbers differ from the preset's, in the geometric mean."""
    logs = [
        abs(math.log(found / getattr(preset.core, name)))
        for name, found in measurement.fields.items()
    ]
    return math.exp(sum(logs) / len(logs))


def _notes(cpu: CpuDescription, preset: Preset, measurement: Measurement) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(measurement.when))
    notes = [
        f"{cpu.mcpu}, preset {preset.title}, measured {when} at {measurement.gigahertz:g} GHz: "
        f"apart by a factor of {_distance(preset, measurement):.2f} on average.",
        f"To plan code by what was measured: {_USE}",
    ]
    if "launch_cycles" not in measurement.fields:
        notes.append(
            "What sharing a loop costs was not measured: there is one core, or other work kept "
            "threads from coming. Measure again with --refresh when the machine is idle."
        )
    return [*notes, *machine_warnings(machine_facts(), measurement.threads)]


def _document(cpu: CpuDescription, preset: Preset, measurement: Measurement) -> dict[str, Any]:
    return {
        "machine": machine_facts().model_dump(mode="json"),
        "mcpu": cpu.mcpu,
        "preset": {
            "title": preset.title,
            "sources": preset.sources,
            **dataclasses.asdict(preset.core),
        },
        "measured": dataclasses.asdict(measurement),
        "ratios": {
            name: found / getattr(preset.core, name) for name, found in measurement.fields.items()
        },
        "factor": _distance(preset, measurement),
    }
