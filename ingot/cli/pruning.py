"""What of a model can be pruned, and what of an artifact was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from rich.table import Table

from ingot.cli.source import find_model
from ingot.cli.text import PlainConsole
from ingot.runtime.manifest import Manifest


def inspect_model(name: str, *, as_json: bool) -> None:
    """Prints the groups of a model's channels, and the layers whose channels stay."""
    # Artifacts are inspected where the compiler is not installed.
    from ingot.compiler.prunable import prunable

    found = prunable(find_model(name).path)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    console = PlainConsole()
    groups = Table("group", box=None, header_style="bold")
    for heading in ("written by", "read by"):
        groups.add_column(heading, overflow="fold")
    for heading in ("channels", "parameters of one", "multiply-adds of one"):
        groups.add_column(heading, justify="right")
    for number, group in enumerate(found.groups, start=1):
        groups.add_row(
            str(number),
            _some(group.written_by),
            _some(group.read_by),
            f"{group.channels:,}",
            f"{group.parameters:,} ({group.parameters / max(found.parameters, 1):.3%})",
            f"{group.multiply_adds:,} ({group.multiply_adds / max(found.multiply_adds, 1):.3%})",
        )
    console.print(groups)
    if found.held:
        held = Table(box=None, header_style="bold")
        held.add_column("layer", overflow="fold")
        held.add_column("why its channels stay", overflow="fold")
        for one in found.held:
            held.add_row(one.node, one.reason.removeprefix("its channels stay: "))
        console.print(held)
    console.print(
        f"{found.parameters:,} parameters, {found.multiply_adds:,} multiply-adds, "
        f"{len(found.groups)} groups of channels that can be pruned"
    )


def pruned_tables(manifest: Manifest) -> Iterator[Table]:
    """Tables of what was pruned: the groups of channels, and the layers with zeros."""
    for record in manifest.passes:
        facts: Mapping[str, Any] = record.get("facts") or {}
        if record["name"] == "pruning.channels" and facts:
            yield _removed(facts)
        elif record["name"] == "pruning.sparsity" and facts:
            zeros = Table(
                "layer with zeros", "pattern", "of its output lost", box=None, header_style="bold"
            )
            for row in facts["layers"]:
                pattern = facts["pattern"] or "anywhere"
                zeros.add_row(row["layer"], pattern, f"{row['relative_error']:.2%}")
            yield zeros


def _removed(facts: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("pruned channels of", overflow="fold")
    for heading in ("removed", "of"):
        table.add_column(heading, justify="right")
    table.add_column("error of the outputs by removed channels", overflow="fold")
    for row in facts["groups"]:
        curve = row.get("measured") or {"counts": [], "errors": []}
        points = zip(curve["counts"], curve["errors"], strict=True)
        table.add_row(
            _some(row["tensors"]),
            f"{row['removed']:,}",
            f"{row['channels']:,}",
            ", ".join(f"{count}: {error:.2%}" for count, error in points),
        )
    table.add_row(
        f"{facts['of']}", f"{facts['before'] - facts['after']:,.0f}", f"{facts['before']:,.0f}", ""
    )
    return table


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:2])
    return shown if len(names) <= 2 else f"{shown} and {len(names) - 2} more"
