"""``ingot profile``: the time of a model's kernels, against what this machine can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ingot.cli.measuring import progress
from ingot.cli.shapes import parse_shapes
from ingot.cli.source import find_model
from ingot.cli.text import result_console
from ingot.compiler.build import ARTIFACT_SUFFIX
from ingot.report.machine import machine_facts, machine_warnings
from ingot.report.profile import KernelRow, ModelProfile, profile_model
from ingot.report.rendering import formats
from ingot.report.variants import Variant


def profile(
    what: Annotated[
        str, typer.Argument(help="An artifact (*.ingot), an ONNX file or a reference model's name.")
    ],
    recipe: Annotated[str, typer.Option(help="The recipe that a model is compiled with.")] = "fp32",
    target: Annotated[str | None, typer.Option(help="Such as cpu or cpu:mcpu=znver4.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZES binds an input's symbolic dimensions; repeatable."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads per inference. Default: all usable CPUs.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Inferences to time.")] = 20,
    top: Annotated[
        int | None, typer.Option(min=1, help="Show this many of the longest kernels.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the profile as JSON, with all kernels.")
    ] = False,
) -> None:
    """Show where the time of an inference goes, kernel by kernel.

    Example: `ingot profile resnet50 --threads 1 --top 10`
    """
    given: dict[str, Any] = {"threads": threads, "runs": runs, "shapes": parse_shapes(shape or [])}
    machine = machine_facts()
    with progress() as tell:
        given["progress"] = tell
        if what.endswith(ARTIFACT_SUFFIX):
            artifact = Path(what)
            found = profile_model(None, artifact=artifact, name=artifact.stem, **given)
        else:
            source = find_model(what)
            variant = Variant.ingot(recipe, target=target)
            found = profile_model(source.path, variant=variant, name=source.name, **given)
    if as_json:
        document = {
            "machine": machine.model_dump(mode="json"),
            "profile": found.model_dump(mode="json"),
        }
        typer.echo(json.dumps(document, indent=2))
        return
    console = result_console()
    console.print(_table(found, top))
    hints = (f"Hint: {hint}" for hint in found.hints)
    for line in (_peaks(found), *machine_warnings(machine, found.threads), *hints):
        console.print(line, soft_wrap=True)


def _table(found: ModelProfile, top: int | None) -> Table:
    table = Table(box=None, header_style="bold", show_footer=True)
    table.add_column("operators", footer=f"{found.model}, whole inference", overflow="fold")
    footers = {
        "calls": "",
        "ms": formats.milliseconds(found.ms),
        "share": "",
        "Gop/s": formats.three_digits(found.gops),
        "GB/s": "",
        "of roofline": formats.percent(found.percent_of_roofline),
    }
    for heading, footer in footers.items():
        table.add_column(heading, footer=footer, justify="right")
    table.add_column("kernel", overflow="fold")
    shown = found.rows[:top]
    for row in shown:
        table.add_row(*_cells(row))
    if rest := found.rows[len(shown) :]:
        taken, share = sum(row.ms for row in rest), sum(row.share for row in rest)
        table.add_row(
            f"{len(rest)} more",
            str(sum(row.calls for row in rest)),
            formats.milliseconds(taken),
            formats.percent(100 * share),
        )
    between = found.ms - found.kernels_ms
    table.add_row("between kernels", "", formats.milliseconds(max(between, 0.0)), end_section=True)
    return table


def _cells(row: KernelRow) -> tuple[str, ...]:
    return (
        row.operators or formats.MISSING,
        str(row.calls),
        formats.milliseconds(row.ms),
        formats.percent(100 * row.share),
        formats.three_digits(row.gops),
        formats.three_digits(row.gbs),
        formats.percent(row.percent_of_roofline),
        row.kernel,
    )


def _peaks(found: ModelProfile) -> str:
    peaks = found.roofline
    others = "" if found.precision == "fp32" else f", {peaks.int8_gops:.0f} in int8"
    if found.precision == "bf16" and peaks.bf16_gops is not None:
        others = f", {peaks.bf16_gops:.0f} in bf16"
    return (
        f"This machine on {peaks.threads} thread{'s' * (peaks.threads > 1)}, before and after: "
        f"{peaks.gflops:.0f} Gop/s in fp32{others}; {peaks.l2_gbs:.0f} GB/s from level 2, "
        f"{peaks.l3_gbs:.0f} from level 3, {peaks.dram_gbs:.0f} from memory."
    )
