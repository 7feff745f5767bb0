"""``ingot bisect``: which pass breaks a model?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import onnx_ir as ir
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingot.cli.shapes import parse_shapes
from ingot.cli.source import find_model
from ingot.cli.text import PlainConsole, printable
from ingot.compiler.accuracy.evaluation import measure_accuracy
from ingot.compiler.bisect import BisectReport, BisectStep, Inputs, TouchedNode
from ingot.compiler.bisect import bisect as find_guilty
from ingot.compiler.data import open_calibration
from ingot.compiler.destinations import files_read, require_dump_folder
from ingot.compiler.ingest import Ingested, ingest
from ingot.compiler.quantization import make_passes
from ingot.compiler.recipe import Recipe, load_recipe
from ingot.data import Dataset
from ingot.data.metrics import Metric
from ingot.errors import DataError
from ingot.passes.base import FLOAT_ROUNDING, Tolerance, ToleranceKind
from ingot.report.examples import open_data
from ingot.targets.registry import parse_target

_ROWS = 40
_COLOURS = {"removed": "red", "added": "green", "changed": "yellow"}


_RecipeOption = Annotated[
    str | None, typer.Option(help="A recipe's file (.toml, .yaml) or name (fp32, none).")
]
_ShapeOption = Annotated[
    list[str] | None,
    typer.Option(help="NAME=SIZES binds an input's symbolic dimensions; repeatable."),
]
_ToleranceOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Largest good difference, as a part of an output's magnitude.",
        show_default="the recipe's verify.rtol",
    ),
]
_DataOption = Annotated[
    Path | None, typer.Option(help="Labelled data: go by accuracy instead of by outputs.")
]
_MaxDropOption = Annotated[
    float, typer.Option(min=0, help="Largest good loss of accuracy, in the metric's unit.")
]
_LimitOption = Annotated[int | None, typer.Option(min=1, help="Use so many examples only.")]
_CalibrationOption = Annotated[
    Path | None, typer.Option(help="What passes that quantize are calibrated with.")
]
_DumpOption = Annotated[
    Path | None, typer.Option(help="A folder for the models before and after that pass.")
]


def bisect(
    model: Annotated[str, typer.Argument(help="An ONNX file or a reference model's name.")],
    recipe: _RecipeOption = None,
    shape: _ShapeOption = None,
    tolerance: _ToleranceOption = None,
    data: _DataOption = None,
    max_drop: _MaxDropOption = 0.0,
    limit: _LimitOption = None,
    dump_passes: _DumpOption = None,
    calibration: _CalibrationOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Find the pass of a recipe that first breaks a model, by halving.

    Goes by the outputs on random inputs or, with --data, by accuracy. Exits with 0 when no pass
    breaks the model, and with 1 when one does (or the work failed).

    Example: `ingot bisect mobilenetv2 --recipe my.toml --data images --max-drop 0.5`
    """
    plan = load_recipe(recipe)
    source = find_model(model)
    shapes = plan.shapes | parse_shapes(shape or [])
    if dump_passes is not None:
        read = files_read(source.path, recipe, plan, data, calibration)
        require_dump_folder(dump_passes, read)
    ingested = ingest(
        source.path, shapes=shapes, simplified=plan.simplify, seed=plan.verify.seed,
        verify_data=plan.verify.data,
    )  # fmt: skip
    if data is None:
        criterion = _by_outputs(ingested)
    else:
        dataset = open_data(data, ingested, source.path, source.preprocessing, limit)
        assert dataset is not None
        criterion = _by_accuracy(ingested, dataset, max_drop)
    given = plan.calibration.data if calibration is None else calibration
    samples = None
    if given is not None:
        samples = open_calibration(
            given, ingested.original, source.path.parent, limit=plan.calibration.limit
        )
    passes = make_passes(plan, parse_target(plan.target), samples)
    report = _search(ingested, plan, passes, criterion, tolerance, dump_passes)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        _print(report)
    if report.guilty is not None:
        raise typer.Exit(1)


@dataclasses.dataclass(frozen=True)
class _Criterion:
    """What to go by; without a measure, the outputs on the inputs.

    Attributes:
        inputs: Reference inputs.
        accuracy: The measure, higher being better.
        floor: Its lowest good value.
        words: Both for the report.
    """

    inputs: Sequence[Inputs]
    accuracy: Callable[[ir.Model], float] | None = None
    floor: float | None = None
    words: str = ""


def _by_outputs(source: Ingested) -> _Criterion:
    return _Criterion([sample.inputs for sample in source.require_samples()])


def _by_accuracy(source: Ingested, dataset: Dataset, max_drop: float) -> _Criterion:
    if not dataset.metrics:
        raise DataError(f"{dataset.description} brings no metric, so there is no accuracy to go by")
    metric: Metric = dataset.metrics[0]
    sign = 1.0 if metric.higher_is_better else -1.0

    def measure(candidate: ir.Model) -> float:
        return sign * measure_accuracy(candidate, dataset, metric)

    floor = measure(source.model) - max_drop
    bound = "at least" if metric.higher_is_better else "at most"
    words = f"{metric.name} of {bound} {sign * floor:g} {metric.unit}".rstrip()
    return _Criterion(dataset[0].inputs, measure, floor, words)


def _search(
    source: Ingested,
    plan: Recipe,
    passes: Sequence[ir.passes.PassBase],
    criterion: _Criterion,
    tolerance: float | None,
    dump_dir: Path | None,
) -> BisectReport:
    console = PlainConsole(stderr=True)
    rtol = plan.verify.rtol if tolerance is None else tolerance
    report = find_guilty(
        source.model,
        passes,
        inputs=criterion.inputs,
        tolerance=Tolerance(ToleranceKind.FLOAT_ROUNDING, rtol, FLOAT_ROUNDING.atol),
        strict=tolerance is not None,
        accuracy=criterion.accuracy,
        floor=criterion.floor,
        dump_dir=dump_dir,
        on_step=lambda step: _print_step(console, step, len(passes)),
    )
    report.criterion = criterion.words or report.criterion
    return report


def _print_step(console: Console, step: BisectStep, total: int) -> None:
    verdict = "good" if step.good else "bad"
    figure = "" if step.measured is None else f", {step.measured:.4g}"
    upto = f", up to {step.last}" if step.last else ""
    console.print(
        f"{step.passes} of {total} passes{upto}: {verdict}{figure} ({step.seconds:.1f} s)",
        soft_wrap=True,
    )  # fmt: skip


def _print(report: BisectReport) -> None:
    console = PlainConsole()
    if report.guilty is None or report.index is None:
        console.print(
            f"No pass breaks the model: {report.criterion}", soft_wrap=True
        )  # fmt: skip
        return
    console.print(
        Text.assemble(
            (printable(report.guilty), "bold"),
            f", pass {report.index + 1}, is the first to break: {printable(report.criterion)}",
        ),
        soft_wrap=True,
    )  # fmt: skip
    if report.failure:
        console.print(report.failure, soft_wrap=True)
        return
    first = report.first_tensor
    if first is not None:
        difference = first.detail or (
            f"differs by {first.max_abs_error:.3g} absolute, {first.max_rel_error:.3g} relative"
        )
        console.print(f"First tensor: '{first.name}' {difference}", soft_wrap=True)
    console.print(_table(report.nodes))
    if len(report.nodes) > _ROWS:
        console.print(f"… and {len(report.nodes) - _ROWS} more; --json lists them all")


def _table(nodes: Sequence[TouchedNode]) -> Table:
    table = Table(box=None, header_style="bold")
    for header in ("", "operator", "node", "inputs", "outputs"):
        table.add_column(header, overflow="fold")
    for node in nodes[:_ROWS]:
        table.add_row(
            Text(node.change, _COLOURS[node.change]),
            node.operator,
            node.name,
            ", ".join(node.inputs),
            ", ".join(node.outputs),
        )
    return table
