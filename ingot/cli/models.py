"""``ingot models``: the reference models that go by name."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from ingot.cli.text import PlainConsole, printable
from ingot.errors import IngotError, UsageError
from ingot.files import require_writable_in
from ingot.models.catalog import (
    REFERENCE_MODELS,
    ReferenceModel,
    cached_path,
    reference_model,
    resolve,
    write_export,
)
from ingot.models.checkpoint_models import CHECKPOINT_MODELS, export_checkpoint
from ingot.progress import Progress

models_app = typer.Typer(
    name="models",
    help="Reference models by name: list them, pull them into the cache, export them as ONNX.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@models_app.command("list", epilog="Example: ingot models list --json")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """List the reference models, what they are and where they come from."""
    models = list(REFERENCE_MODELS.values())
    if as_json:
        typer.echo(json.dumps([_facts(model) for model in models], indent=2))
    elif sys.stdout.isatty():
        PlainConsole().print(_table(models))
    else:
        for model in models:
            typer.echo(
                f"{model.name}\t{model.task}\t{_megabytes(model.size)}\t{_state(model)}"
                f"\t{model.licence}\t{model.summary}"
            )


@models_app.command("pull", epilog="Example: ingot models pull mobilenetv2 resnet50")
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Models to pull.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Pull all models.")] = False,
) -> None:
    """Download models, check their digests and export them into the cache.

    A model that is there already is left as it is. $INGOT_CACHE_DIR moves the cache.
    """
    if bool(names) == everything:
        raise UsageError("name the models to pull, or give --all (ingot models list shows them)")
    models = [reference_model(name) for name in names or REFERENCE_MODELS]
    failures: list[tuple[ReferenceModel, IngotError]] = []
    with fetch_progress() as progress:
        for model in models:
            try:
                source = resolve(model.name, progress=progress)
            except IngotError as error:
                failures.append((model, error))
                continue
            for line in source.notes:
                typer.echo(f"note: {line}", err=True)
            note = "  (random weights: for speed only)" if model.speed_only else ""
            typer.echo(f"{model.name}  {source.path}{note}")
    if len(failures) == 1:
        raise failures[0][1]
    if failures:
        for model, failure in failures:
            typer.echo(f"{model.name}: {failure}", err=True)
        raise IngotError(f"{len(failures)} of {len(models)} models could not be pulled (see above)")


@models_app.command("export", epilog="Example: ingot models export mobilenetv2 -o mobilenetv2.onnx")
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model to export.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The ONNX file to write.", show_default="NAME.onnx"),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The weights (.h5, .tflite) of a model that no registry has."),
    ] = None,
) -> None:
    """Write a model as an ONNX file that carries its preprocessing.

    The tokenizer of a model that reads text is written beside it.

    MLPerf Tiny's resnet8, vww_mobilenet, ds_cnn and autoencoder are made of the checkpoint that
    --checkpoint names, a file of github.com/mlcommons/tiny.
    """
    target = output or Path(f"{name}.onnx")
    if target.suffix != ".onnx":
        raise UsageError(f"the output {target} must end in .onnx")
    kept = cached_path(REFERENCE_MODELS[name]) if name in REFERENCE_MODELS else None
    require_writable_in(target.parent, [target.name], inputs=[checkpoint, kept])
    if checkpoint is not None or name in CHECKPOINT_MODELS:
        _export_checkpoint(name, checkpoint, target)
        return
    with fetch_progress() as progress:
        write_export(name, target, progress=progress)
    note = "  (random weights: for speed only)" if reference_model(name).speed_only else ""
    typer.echo(f"{target}{note}")


def _export_checkpoint(name: str, checkpoint: Path | None, target: Path) -> None:
    if checkpoint is None:
        raise UsageError(
            f"the weights of {name} are in no package registry: give --checkpoint "
            f"{CHECKPOINT_MODELS[name].checkpoint}, a file of github.com/mlcommons/tiny"
        )
    if name in REFERENCE_MODELS:
        raise UsageError(f"{name} is pulled from a package registry: leave --checkpoint out")
    export_checkpoint(name, checkpoint, target)
    typer.echo(str(target))


@contextlib.contextmanager
def fetch_progress() -> Iterator[Progress]:
    """Shows downloads and exports on standard error: bars on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield _plain_progress()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    with ProgressBar(*columns, console=PlainConsole(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(printable(stage), total=None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield update


def _plain_progress() -> Progress:
    reported: set[tuple[str, bool]] = set()

    def update(stage: str, done: int, total: int) -> None:
        # Only the start and the end count, and each once.
        finished = done == total > 0
        if (finished or done == 0) and (stage, finished) not in reported:
            reported.add((stage, finished))
            typer.echo(f"{stage}: {_megabytes(done)}" if finished else f"{stage} ...", err=True)

    return update


def _facts(model: ReferenceModel) -> dict[str, Any]:
    path = cached_path(model)
    return {
        "name": model.name,
        "summary": model.summary,
        "task": model.task,
        "licence": model.licence,
        "speed_only": model.speed_only,
        "bytes": model.size,
        "download_bytes": model.download_size,
        "source": model.source,
        "packages": [
            {
                "registry": package.registry,
                "name": package.name,
                "version": package.version,
                "digest": package.digest,
                "bytes": package.size,
            }
            for package in model.packages
        ],
        "preprocessing": model.preprocessing.model_dump() if model.preprocessing else None,
        "path": None if path is None else str(path),
    }


def _table(models: list[ReferenceModel]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("name", style="cyan", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    table.add_column("what it is")
    for model in models:
        row = (model.name, _megabytes(model.size), _state(model), model.licence, model.summary)
        table.add_row(*row)
    return table


def _state(model: ReferenceModel) -> str:
    if model.bundled is not None:
        return "bundled"
    if cached_path(model) is not None:
        return "in the cache"
    if not model.packages:
        return "no download"
    return f"{_megabytes(model.download_size)} to pull"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
