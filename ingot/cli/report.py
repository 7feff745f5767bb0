"""``ingot report``: variants of a model compared in accuracy and speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ingot.cli.measuring import progress
from ingot.cli.recording import CommitOption, DatabaseOption, HistoryOption, Recorder
from ingot.cli.shapes import parse_shapes
from ingot.cli.source import find_model
from ingot.cli.text import printable, result_console
from ingot.compiler.recipe import NAMED_RECIPES, Recipe, load_recipe
from ingot.files import require_writable_in, temporary_folder
from ingot.models.catalog import ModelSource
from ingot.optimization.guarding import guarded
from ingot.report.budgets import load_budget
from ingot.report.compare import compare
from ingot.report.history.recording import runs_of_report
from ingot.report.rendering import PAGES, formats, npu
from ingot.report.report import Report
from ingot.report.variants import Variant

_COLOURS = {"failed": "red", "passed": "green", "cannot be told": "yellow"}
_RANDOM_WEIGHTS = "The model's weights are random: only speed, memory and size mean anything."


def report(
    model: Annotated[str, typer.Argument(help="An ONNX file or a reference model's name.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="A recipe's name or file to compile with; repeatable. Default: fp32, and int8 for "
            "an NPU."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled data: image folders by class index, .npz, or .csv."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="top1, top5, spearman, module:function or file.py:function; repeatable, the "
            "first is what 'accuracy' means. Default: what fits the data."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Use at most so many examples, spread evenly.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="onnxruntime, openvino or openvino_bf16 (with its floats in bfloat16); "
            "repeatable, the first is the reference. "
            "Default: onnxruntime."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as cpu, cpu:mcpu=znver4 or npu:ethos-u55-256; repeatable. What is for an "
            "NPU is estimated, not timed."
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZES binds an input's symbolic dimensions; repeatable."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="What recipes that quantize are calibrated with; needs no labels."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads per inference. Default: all usable CPUs.")
    ] = None,
    runs: Annotated[
        int, typer.Option(help="Timed inferences per variant; 100 or more show p99.")
    ] = 100,
    seconds: Annotated[
        float, typer.Option(help="About how long a variant may be timed; a slow one runs less.")
    ] = 60.0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder; default NAME-report, here.")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            help='Exit with 1 when it holds for a variant of Ingot: "latency>1.1x", "p99>1.5x", '
            '"memory>1.2x", "size>2x", "accuracy<-0.5"; repeatable. The point estimate decides.'
        ),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            help="Budgets in absolute numbers, a table per model (TOML): exit with 1 when one is "
            "broken beyond its 95 % interval."
        ),
    ] = None,
    guard: Annotated[
        bool,
        typer.Option(help="Keep each optional step of a recipe only where it is measured to pay."),
    ] = False,
    history: HistoryOption = False,
    database: DatabaseOption = None,
    commit: CommitOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Compare variants of a model in accuracy, speed, memory and size.

    Writes report.html, report.md and report.json into a folder.

    Examples: `ingot report mobilenetv2 --data imagenet_val --limit 500 --fail-on "accuracy<-0.5"`,
    `ingot report cifar_resnet --targets targets.toml`,
    `ingot report cifar_resnet --target npu:ethos-u55-128 --target npu:ethos-u85-256 --limit 200`
    """
    source = find_model(model)
    budget = None if targets is None else load_budget(targets, source.name)
    recorder = Recorder(history, database, commit)
    folder = output or Path(f"{source.name}-report")
    read = [
        source.path,
        data,
        calibration,
        targets,
        *(r for r in recipe or [] if r not in NAMED_RECIPES),
    ]
    require_writable_in(folder, PAGES, inputs=read)
    recipes = [load_recipe(one) for one in recipe or [_default_recipe(target or [])]]
    samples = source.default_calibration if calibration is None else calibration
    shapes = parse_shapes(shape or [])
    aims: list[str | None] = [*target] if target else [None]
    with progress() as tell, temporary_folder("ingot-guarded-") as scratch:

        def variants(one: Recipe) -> list[Variant]:
            if not (guard or one.guard):
                return [Variant.ingot(one, target=aim) for aim in aims]
            return [
                guarded(
                    one,
                    source.path,
                    Path(scratch),
                    _data(source, data),
                    target=aim,
                    preprocessing=source.preprocessing,
                    calibration=samples,
                    limit=limit,
                    shapes=shapes,
                    threads=threads,
                    progress=tell,
                )
                for aim in aims
            ]

        made = compare(
            source.path,
            [variant for one in recipes for variant in variants(one)],
            _data(source, data),
            metrics=metric,
            against=against or ["onnxruntime"],
            preprocessing=source.preprocessing,
            limit=limit,
            shapes=shapes,
            calibration=samples,
            threads=threads,
            runs=runs,
            seconds=seconds,
            fail_on=fail_on or [],
            budget=budget,
            name=source.name,
            notes=[_RANDOM_WEIGHTS] if source.speed_only else [],
            progress=tell,
        )
        page = made.write(folder)
    if recorder.wanted:
        recorder.record(runs_of_report(made, recorder.commit))
    if as_json:
        typer.echo(made.to_json(), nl=False)
    else:
        _print(made, page)
    if not made.passed:
        raise typer.Exit(1)


def _default_recipe(targets: Sequence[str]) -> str:
    """``int8`` for NPUs, which compute in integers."""
    return "int8" if any(spec.partition(":")[0] == "npu" for spec in targets) else "fp32"


def _data(source: ModelSource, data: Path | None) -> Path | None:
    """The data that was asked for, or what comes with the model."""
    return data if data is not None else source.default_dataset


def _print(made: Report, page: Path) -> None:
    console = result_console()
    console.print(_table(made))
    if made.npu:
        console.print(_npu_table(made))
    for line in [*made.verdicts, *made.warnings]:
        console.print(line, soft_wrap=True)
    for check in made.checks:
        outcome = Text(check.outcome, _COLOURS[check.outcome])
        line = f" {printable(check.rule)}: {printable(check.explanation)}"
        console.print(Text.assemble(outcome, line), soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)


def _table(made: Report) -> Table:
    metrics = made.variants[0].metrics[:1]
    table = Table(box=None, header_style="bold")
    table.add_column("variant")
    for heading in ("median ms", "p95", "p99", "speed", "per second"):
        table.add_column(heading, justify="right")
    for metric in metrics:
        table.add_column(metric.name, justify="right")
    for heading in ("peak memory", "CPU", "GPU", "power", "size", "compile"):
        table.add_column(heading, justify="right")
    for variant in made.variants:
        table.add_row(
            variant.name,
            formats.milliseconds(variant.latency.median.value),
            formats.milliseconds(variant.latency.p95),
            formats.milliseconds(variant.latency.p99),
            "reference" if variant.speed is None else formats.times(variant.speed.value),
            formats.rate(variant.throughput),
            *(formats.metric_value(metric) for metric in variant.metrics[:1]),
            formats.size(variant.memory.peak),
            formats.cpu(variant.usage),
            formats.gpu(variant.usage),
            formats.power(variant.usage),
            formats.size(variant.size_bytes),
            formats.MISSING if variant.build is None else formats.seconds(variant.build.seconds),
        )
    return table


def _npu_table(made: Report) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("on an NPU, estimated")
    memories = npu.memories(made.npu)
    headings = ["cycles", "MHz", "per second", *(f"{name} peak" for name in memories)]
    for heading in [*headings, *(metric.name for metric in made.npu[0].metrics[:1]), "share"]:
        table.add_column(heading, justify="right")
    for variant in made.npu:
        table.add_row(
            variant.name,
            f"{variant.estimate.cycles:,}",
            npu.megahertz(variant),
            npu.rate(variant),
            *(npu.peak(variant, name) for name in memories),
            *(formats.metric_value(metric) for metric in variant.metrics[:1]),
            f"{variant.estimate.share_of_macs:.1%}",
        )
    return table
