"""``ingot bench``: the time of models or artifacts against their peers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ingot.cli.measuring import parse_threads, progress
from ingot.cli.recording import CommitOption, DatabaseOption, HistoryOption, Recorder
from ingot.cli.shapes import parse_shapes
from ingot.cli.source import find_model
from ingot.cli.text import result_console
from ingot.compiler.build import ARTIFACT_SUFFIX
from ingot.errors import UsageError
from ingot.progress import Progress
from ingot.report.bench import BenchRow
from ingot.report.bench import bench as time_against
from ingot.report.history.recording import runs_of_bench
from ingot.report.machine import machine_facts, machine_warnings
from ingot.report.measure import MeasureSettings, choose_cpus
from ingot.report.rendering import formats
from ingot.report.schema import MachineFacts
from ingot.report.variants import Variant
from ingot.runtime.cpu_quota import usable_cpus


def bench(
    what: Annotated[
        list[str],
        typer.Argument(help="Artifacts (*.ingot), ONNX files or reference models' names."),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option(help="onnxruntime, openvino or openvino_bf16; repeatable."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The source model of an artifact: peers need it."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="The recipe that models are compiled with.")] = "fp32",
    target: Annotated[str | None, typer.Option(help="Such as cpu or cpu:mcpu=znver4.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZES binds an input's symbolic dimensions; repeatable."),
    ] = None,
    threads: Annotated[
        str | None,
        typer.Option(help="Threads per inference, such as 1,2. Default: all usable CPUs."),
    ] = None,
    runs: Annotated[
        int, typer.Option(help="Timed inferences per variant; 100 or more show p99.")
    ] = 100,
    seconds: Annotated[
        float, typer.Option(help="About how long a variant may be timed; a slow one runs less.")
    ] = 60.0,
    history: HistoryOption = False,
    database: DatabaseOption = None,
    commit: CommitOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Time models or artifacts against their peers, in turn, on random inputs.

    Example: `ingot bench mobilenetv2 resnet50 --against onnxruntime --against openvino`
    """
    settings = _settings(threads, runs, seconds)
    peers = against or []
    for peer in peers:
        Variant.peer(peer)
    machine = machine_facts()
    recorder = Recorder(history, database, commit)
    rows: list[BenchRow] = []
    with progress() as tell:
        for entry in what:
            rows += _bench_one(entry, model, recipe, target, peers, settings, shape or [], tell)
    if recorder.wanted:
        recorder.record(runs_of_bench(rows, machine, shape or [], recorder.commit))
    if as_json:
        document = {
            "machine": machine.model_dump(mode="json"),
            "rows": [row.model_dump(mode="json") for row in rows],
        }
        typer.echo(json.dumps(document, indent=2))
        return
    _print(rows, machine)


def _settings(threads: str | None, runs: int, seconds: float) -> list[MeasureSettings]:
    counts = [usable_cpus()] if threads is None else parse_threads(threads)
    settings = [MeasureSettings(count, (), runs=runs, seconds=seconds) for count in counts]
    return [
        MeasureSettings(entry.threads, choose_cpus(entry.threads), runs=runs, seconds=seconds)
        for entry in settings
    ]


def _bench_one(
    entry: str,
    model: str | None,
    recipe: str,
    target: str | None,
    peers: Sequence[str],
    settings: Sequence[MeasureSettings],
    shape: Sequence[str],
    tell: Progress,
) -> list[BenchRow]:
    shapes = parse_shapes(shape)
    if not entry.endswith(ARTIFACT_SUFFIX):
        source = find_model(entry)
        return time_against(
            source.path,
            variant=Variant.ingot(recipe, target=target),
            name=source.name,
            against=peers,
            settings=settings,
            shapes=shapes,
            progress=tell,
        )
    artifact = Path(entry)
    if peers and model is None:
        raise UsageError(
            f"{entry} is an artifact, and {peers[0]} needs its source model: add --model, or leave "
            "--against out"
        )
    return time_against(
        None if model is None else find_model(model).path,
        artifact=artifact,
        name=artifact.stem,
        against=peers,
        settings=settings,
        shapes=shapes,
        progress=tell,
    )


def _print(rows: Sequence[BenchRow], machine: MachineFacts) -> None:
    peers = list(dict.fromkeys(peer for row in rows for peer in row.peers))
    table = Table(box=None, header_style="bold")
    table.add_column("model")
    for heading in ("threads", "Ingot ms", "p95", "p99", *(f"{peer} ms" for peer in peers)):
        table.add_column(heading, justify="right")
    for heading in ("best peer ÷ Ingot", "95 % interval", "of roofline", "peak memory"):
        table.add_column(heading, justify="right")
    for heading in ("size", "compile"):
        table.add_column(heading, justify="right")
    for row in rows:
        own = row.latency["ingot"]
        table.add_row(
            row.model,
            str(row.threads),
            formats.milliseconds(row.ingot_ms),
            formats.milliseconds(own.p95),
            formats.milliseconds(own.p99),
            *(formats.milliseconds(row.peers.get(peer)) for peer in peers),
            formats.times(row.ratio),
            formats.MISSING
            if row.ratio is None
            else f"{formats.times(row.ratio_low)} to {formats.times(row.ratio_high)}",
            formats.percent(row.percent_of_roofline),
            formats.size(row.peak_rss_mb * 1e6),
            formats.size(row.artifact_mb * 1e6),
            formats.seconds(row.compile_s),
        )
    console = result_console()
    console.print(table)
    for warning in machine_warnings(machine, max(row.threads for row in rows)):
        console.print(warning, soft_wrap=True)
