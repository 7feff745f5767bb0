"""``ingot optimize``: the best artifact, of steps that are kept only where they pay."""

from __future__ import annotations

import enum
import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ingot.cli.measuring import progress
from ingot.cli.optimization import optimization_tables
from ingot.cli.shapes import parse_shapes
from ingot.cli.source import find_model
from ingot.cli.text import PlainConsole
from ingot.errors import UsageError
from ingot.optimization.optimizing import Optimized, optimize

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_STATE_SUFFIX = ".optimize"


class GoalName(str, enum.Enum):
    """What has to become better."""

    latency = "latency"
    throughput = "throughput"
    size = "size"


def optimize_command(
    model: Annotated[str, typer.Argument(help="An ONNX file or a reference model's name.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The artifact; default NAME.ingot, here.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled data that accuracy is judged on.")
    ] = None,
    goal: Annotated[GoalName, typer.Option(help="What has to become better.")] = GoalName.latency,
    accuracy_budget: Annotated[
        float, typer.Option(min=0, help="Largest loss of accuracy, in the metric's unit.")
    ] = 0.5,
    time_budget: Annotated[
        str | None, typer.Option(help="Such as 90s, 10m or 1h: then no further step is begun.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Such as cpu or npu:ethos-u85-256; see `ingot targets`.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="What to start from; by default fp32.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="top1, top5, spearman, or a function as module:function.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Data to calibrate with; by default some of the data.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Judge on so many examples, spread evenly.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZES binds an input's symbolic dimensions; repeatable."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads per inference. Default: all usable CPUs; one for throughput."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="A folder that keeps finished work for when this is run again; by default "
            "OUTPUT.optimize, beside the artifact."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was tried as JSON.")] = False,
) -> None:
    """Find the best artifact: 8 bits, 16 bits, pruning, kept only where measured to be better.

    Run again after an interruption, it goes on where it was.

    Example: `ingot optimize cifar_resnet --goal latency --accuracy-budget 0.5 -o best.ingot`
    """
    source = find_model(model)
    path = output or Path(f"{source.name}.ingot")
    with progress() as tell:
        made = optimize(
            source.path,
            path,
            source.default_dataset if data is None else data,
            goal=goal.value,
            accuracy_budget=accuracy_budget,
            target=target,
            recipe=recipe,
            metric=metric,
            preprocessing=source.preprocessing,
            calibration=source.default_calibration if calibration is None else calibration,
            limit=limit,
            shapes=parse_shapes(shape or []),
            threads=threads,
            time_budget=None if time_budget is None else parse_seconds(time_budget),
            state=path.with_name(path.name + _STATE_SUFFIX) if state is None else state,
            progress=tell,
        )
    if as_json:
        typer.echo(json.dumps(made.optimization.model_dump(mode="json"), indent=2))
    else:
        _print(made)


def parse_seconds(text: str) -> float:
    """Reads ``90s``, ``10m`` or ``1h``.

    Raises:
        UsageError: It is no such time.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text)
    if found is None:
        raise UsageError(f"--time-budget {text!r} is no time: give 90s, 10m or 1h")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def _print(made: Optimized) -> None:
    console = PlainConsole()
    for part in optimization_tables(made.optimization):
        if isinstance(part, Table):
            console.print(part)
        else:
            console.print(part, soft_wrap=True)
    console.print(f"{made.artifact.path}: {made.artifact.size:,} bytes", soft_wrap=True)
