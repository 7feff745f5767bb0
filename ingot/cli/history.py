"""``ingot history``: what was measured before, and whether anything has changed since."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ingot.cli.text import printable, result_console
from ingot.errors import IngotError, UsageError
from ingot.files import require_writable
from ingot.report.history.changes import (
    CheckSettings,
    Judgement,
    Outcome,
    check,
    current,
    series_of,
)
from ingot.report.history.database import default_history, read_history
from ingot.report.history.findings import in_words
from ingot.report.history.runs import Run, kind_of_machine
from ingot.report.machine import machine_facts

_COLOURS: Mapping[Outcome, str] = {
    "worse": "red", "better": "green", "as before": "dim", "not enough runs": "yellow",
}  # fmt: skip
_NONE = "\N{EN DASH}"
_SHOWN = ("latency_p50_ms", "latency_p99_ms", "throughput_per_s", "memory_mb", "size_mb")

history_app = typer.Typer(
    name="history",
    help="What `ingot report` and `ingot bench` recorded with --history: list it, check the newest "
    "runs against those before, plot it.",
    invoke_without_command=True,
    rich_markup_mode="rich",
)

_Database = Annotated[
    Path | None, typer.Option("--db", help="The history's file. Default: the user's.")
]
_Model = Annotated[str | None, typer.Option("--model", help="Only runs of this model.")]


@history_app.callback(epilog="Example: ingot history --model cifar_resnet --last 10")
def list_runs(
    context: typer.Context,
    database: _Database = None,
    model: _Model = None,
    last: Annotated[int, typer.Option(min=1, help="Show so many of the newest runs.")] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the runs as JSON, with all figures.")
    ] = False,
) -> None:
    """List what was recorded, the newest last."""
    if context.invoked_subcommand is not None:
        if database is not None or model is not None or as_json:
            raise UsageError(f"put the options behind `ingot history {context.invoked_subcommand}`")
        return
    runs = _read(database, model)[-last:]
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(run) for run in runs], indent=2))
        return
    console = result_console()
    console.print(_table(runs))
    for machine in dict.fromkeys(run.machine for run in runs):
        numbers = ", ".join(str(run.number) for run in runs if run.machine == machine)
        console.print(f"on {printable(machine)}: {numbers}", soft_wrap=True)


@history_app.command("check", epilog="Example: ingot history check --db history.db --runs 3")
def check_runs(
    database: _Database = None,
    model: _Model = None,
    runs: Annotated[
        int, typer.Option(help="Judge so many of the newest runs together, by their median.")
    ] = 1,
    against: Annotated[int, typer.Option(help="Hold them against so many runs before.")] = 20,
    since: Annotated[
        str | None,
        typer.Option(help="Leave out what was before this commit or day, such as 2026-11-30."),
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="Percent of checks that may fail though nothing has changed.")
    ] = 5.0,
    min_change: Annotated[
        float | None,
        typer.Option(
            help="Smallest change that matters, in percent. Default: 3 for speed and memory, 10 "
            "for p99, 1 for size, 0.1 for accuracy."
        ),
    ] = None,
    tails: Annotated[
        bool, typer.Option("--tails", help="Check p99 too, which follows what else is running.")
    ] = False,
    any_machine: Annotated[
        bool, typer.Option("--any-machine", help="Check every kind of machine, not this one's.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Find what became worse beyond the noise; exit code 1 if anything did.

    Checked is what was measured on the newest commit, against earlier runs on the same kind of
    machine.
    """
    settings = CheckSettings(
        runs=runs,
        against=against,
        since=since,
        false_alarms=false_alarms / 100,
        least=None if min_change is None else min_change / 100,
    )
    machine = None if any_machine else kind_of_machine(machine_facts())
    found = check(current(series_of(_read(database, model)), machine, tails=tails), settings)
    if not found:
        raise IngotError(
            "nothing was recorded on this kind of machine: record with --history, or check the "
            "others with --any-machine"
        )
    if as_json:
        typer.echo(json.dumps([_facts(judgement) for judgement in found], indent=2))
    else:
        _print(found)
    if any(judgement.outcome == "worse" for judgement in found):
        raise typer.Exit(1)


@history_app.command("plot", epilog="Example: ingot history plot -o history.html")
def plot(
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file to write.")],
    database: _Database = None,
    model: _Model = None,
) -> None:
    """Draw every series over its runs, as one HTML page that works offline."""
    # What draws takes a second to load, which the other commands do without.
    from ingot.report.rendering.history import write_history

    require_writable(output, inputs=[_path(database)])
    write_history(check(series_of(_read(database, model)), CheckSettings()), output)
    typer.echo(f"history: {output}")


def _path(database: Path | None) -> Path:
    return default_history() if database is None else database


def _read(database: Path | None, model: str | None) -> list[Run]:
    runs = read_history(_path(database), model)
    if not runs:
        if model is not None:
            raise UsageError(f"the history {_path(database)} has no run of {model!r}")
        raise IngotError(
            f"the history {_path(database)} is empty: `ingot report` and `ingot bench` add to it "
            "with --history"
        )
    return runs


def _table(runs: Sequence[Run]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("run", justify="right")
    for heading in ("recorded", "commit", "model", "recipe", "measured by"):
        table.add_column(heading, overflow="fold")
    accuracy = list(
        dict.fromkeys(
            found.quantity for run in runs for found in run.figures
            if found.quantity.startswith("accuracy ")
        )
    )  # fmt: skip
    for heading in ("median ms", "p99", "per second", "memory MB", "size MB"):
        table.add_column(heading, justify="right")
    for heading in accuracy:
        table.add_column(heading.removeprefix("accuracy "), justify="right")
    for run in runs:
        values = {found.quantity: found.value for found in run.figures}
        table.add_row(
            str(run.number),
            run.recorded[:16].replace("T", " "),
            run.commit or _NONE,
            run.model,
            run.recipe,
            run.setting,
            *(_number(values.get(name)) for name in (*_SHOWN, *accuracy)),
        )
    return table


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4g}"


def _print(found: Sequence[Judgement]) -> None:
    console = result_console()
    for judgement in found:
        run, figure = judgement.series.last, judgement.series.figure
        what = f" {run.model} {run.recipe} ({run.setting}), {figure.quantity}: "
        outcome = Text(judgement.outcome, _COLOURS[judgement.outcome])
        line = printable(f"{what}{in_words(judgement)}")
        console.print(Text.assemble(outcome, line), soft_wrap=True)


def _facts(judgement: Judgement) -> dict[str, Any]:
    run, figure = judgement.series.last, judgement.series.figure
    return {
        "model": run.model,
        "recipe": run.recipe,
        "target": run.target,
        "setting": run.setting,
        "machine": run.machine,
        "commit": run.commit,
        "run": run.number,
        "quantity": figure.quantity,
        "unit": figure.unit,
        "outcome": judgement.outcome,
        "value": judgement.value,
        "usual": judgement.usual,
        "change": judgement.change,
        "worse_from": judgement.bound,
        "earlier_runs": judgement.earlier,
    }
