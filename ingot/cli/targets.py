"""``ingot targets``: what models can be compiled for."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from ingot.cli.text import PlainConsole
from ingot.runtime.cpu_features import machine_architecture
from ingot.runtime.cpu_quota import usable_cpus
from ingot.targets.cpu.machine import describe_cpu, known_processors
from ingot.targets.cpu.options import processor_spec
from ingot.targets.registry import TARGETS


def targets(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print as JSON, with every processor's name.")
    ] = False,
) -> None:
    """List the targets with their options, and what this machine is.

    Example: `ingot targets`
    """
    native = describe_cpu("native", None)
    if as_json:
        document: dict[str, Any] = {
            kind: {"summary": target.summary, "options": _options(kind)}
            for kind, target in TARGETS.items()
        }
        document["cpu"]["native"] = {
            "target": f"cpu:{processor_spec(native)}",
            "mcpu": native.mcpu,
            "features": native.features,
        }
        document["cpu"]["processors"] = known_processors(machine_architecture())
        typer.echo(json.dumps(document, indent=2))
        return
    table = Table("target", "options", "for", box=None, header_style="bold")
    for kind, target in TARGETS.items():
        table.add_row(kind, "\n".join(_options(kind)), target.summary)
    console = PlainConsole()
    console.print(table)
    console.print(
        f"\nthis machine: cpu:{processor_spec(native)}, {usable_cpus()} CPUs to use, "
        f"{native.vector_bytes * 8}-bit vectors, {' '.join(native.features)}",
        soft_wrap=True,
    )


def _options(kind: str) -> list[str]:
    fields = TARGETS[kind].options_type.model_fields
    return [
        f"{name}={'NAME' if field.is_required() else field.default}"
        for name, field in fields.items()
    ]
