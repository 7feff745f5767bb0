"""``ingot compile``: from a model to an artifact."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table

from ingot.cli.measuring import progress
from ingot.cli.optimization import optimization_tables
from ingot.cli.shapes import parse_shapes
from ingot.cli.source import find_model
from ingot.cli.text import PlainConsole
from ingot.compiler.accuracy.budget_record import BudgetFacts
from ingot.compiler.build import Artifact, compile_model, plan_recipe
from ingot.compiler.optimization_record import read_optimization
from ingot.compiler.recipe import Precision, Recipe
from ingot.errors import UsageError
from ingot.models.catalog import ModelSource
from ingot.optimization.guarding import DEFAULT_BUDGET
from ingot.optimization.optimizing import optimize
from ingot.report.rendering import formats
from ingot.runtime.manifest import Manifest

_MIB = 1 << 20


class Quantization(str, enum.Enum):
    """What a model can be quantized to."""

    int8 = "int8"


class Computed(str, enum.Enum):
    """What a model can be computed in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"
    int8 = "int8"


def compile_command(
    model: Annotated[str, typer.Argument(help="An ONNX file or a reference model's name.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The artifact; default NAME.ingot, here.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Such as cpu or cpu:mcpu=znver4; see `ingot targets`.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's file (.toml, .yaml) or name (fp32, int8, bf16, …)."),
    ] = None,
    quantize: Annotated[
        Quantization | None, typer.Option(help="Quantize weights and activations to 8 bits.")
    ] = None,
    precision: Annotated[
        Computed | None,
        typer.Option(
            help="What layers compute in; where there is no such unit, weights alone. auto: what "
            "is measured to be best, layer by layer."
        ),
    ] = None,
    prune: Annotated[
        str | None,
        typer.Option(
            metavar="RATIO|N:M",
            help="Part of the parameters that goes with whole channels, such as 0.1; or 2:4.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Data that quantization is calibrated with; it needs no labels."),
    ] = None,
    accuracy_budget: Annotated[
        float | None,
        typer.Option(min=0, help="Largest loss of accuracy: layers stay in float until it holds."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled data that the budget is held on.")
    ] = None,
    verify_data: Annotated[
        Path | None, typer.Option(help="Real inputs to compare outputs on, before random ones.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="NAME=SIZES binds an input's symbolic dimensions; repeatable."),
    ] = None,
    fallback: Annotated[
        bool | None,
        typer.Option(
            "--fallback/--no-fallback",
            help="Whether ONNX Runtime may run what cannot be compiled; by default it may.",
        ),
    ] = None,
    dump_passes: Annotated[
        Path | None, typer.Option(help="A folder that receives the graph after each pass.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Compile a model to an artifact: one file that runs without the compiler.

    Example: `ingot compile mobilenetv2 -o mobilenetv2.ingot --shape input=1x3x224x224`

    Example: `ingot compile mobilenetv2 --quantize int8 --calibration images`
    """
    source = find_model(model)
    path = output or Path(f"{source.name}.ingot")
    shapes = parse_shapes(shape or [])
    to_bits = None if quantize is None else quantize.value
    by_layer = precision is Computed.auto
    computed = None if precision is None or by_layer else cast(Precision, precision.value)
    plan = plan_recipe(recipe, target, shapes, to_bits, computed, accuracy_budget, prune, fallback)
    searched = plan.guard or by_layer
    if searched and (dump_passes is not None or verify_data is not None):
        raise UsageError(
            "--dump-passes and --verify-data go with a single compilation, and what is best is "
            "found by several"
        )
    learnt_from = _calibration(source, calibration, plan, by_layer)
    labelled = data
    if data is None and (plan.accuracy_budget is not None or searched):
        labelled = source.default_dataset
    with progress() as tell:
        if searched:
            artifact = optimize(
                source.path,
                path,
                labelled,
                accuracy_budget=DEFAULT_BUDGET if accuracy_budget is None else accuracy_budget,
                recipe=plan.model_copy(update={"accuracy_budget": None}) if by_layer else plan,
                guard=plan.guard,
                by_layer=by_layer,
                ratios=(),
                preprocessing=source.preprocessing,
                calibration=learnt_from,
                shapes=plan.shapes,
                progress=tell,
            ).artifact
        else:
            artifact = compile_model(
                source.path,
                path,
                target=target,
                recipe=recipe,
                shapes=shapes,
                quantize=to_bits,
                precision=computed,
                calibration=learnt_from,
                accuracy_budget=accuracy_budget,
                prune=prune,
                data=labelled,
                verify_data=verify_data,
                dump_passes=dump_passes,
                fallback=fallback,
                progress=tell,
            )
    if as_json:
        typer.echo(json.dumps(_summary(artifact), indent=2))
    else:
        _print(artifact)


def _calibration(
    source: ModelSource, given: Path | None, plan: Recipe, by_layer: bool
) -> Path | None:
    """What was given, else the recipe's (None), else what comes with the model."""
    if given is not None or plan.calibration.data is not None:
        return given
    return source.default_calibration if plan.learns or by_layer else None


def _summary(artifact: Artifact) -> dict[str, object]:
    manifest = artifact.manifest
    return {
        "artifact": str(artifact.path),
        "bytes": artifact.size,
        "target": manifest.target.spec,
        "stage_seconds": manifest.measured["stage_seconds"],
        "verification": manifest.measured.get("verification"),
        "passes": manifest.passes,
        "regions": {
            name: {"executor": region.executor, "nodes": list(region.nodes)}
            for name, region in manifest.regions.items()
        },
        "notes": _notes(manifest),
    }


def _notes(manifest: Manifest) -> list[str]:
    return [*manifest.source["notes"], *manifest.calibration.get("notes", ())]


def _print(artifact: Artifact) -> None:
    manifest = artifact.manifest
    console = PlainConsole()
    found = read_optimization(manifest.measured)
    for part in () if found is None else optimization_tables(found):
        console.print(part, soft_wrap=isinstance(part, str))
    table = Table("pass", "applied", "nodes", "what changed", box=None, header_style="bold")
    for record in manifest.passes:
        if record["changed"]:
            delta = ", ".join(f"{kind} {count:+d}" for kind, count in record["op_delta"].items())
            nodes = f"{record['nodes_before']} → {record['nodes_after']}"
            table.add_row(record["name"], str(record["applied"]), nodes, delta)
    if table.row_count:
        console.print(table)
    for note in _notes(manifest):
        console.print(f"note: {note}", soft_wrap=True)
    seconds = manifest.measured["stage_seconds"]
    parts = ", ".join(
        f"{stage} {seconds[stage]:.1f} s" for stage in ("ingest", "passes", "lower", "verify")
        if stage in seconds
    )  # fmt: skip
    console.print(
        f"{artifact.path}: {artifact.size / _MIB:.2f} MiB for {manifest.target.spec} ({parts})",
        soft_wrap=True,
    )  # fmt: skip
    if left := manifest.left_to_onnxruntime:
        console.print(f"{left}; `ingot inspect` says why", soft_wrap=True)
    outcome = manifest.measured.get("verification", {"ran": False, "reason": "switched off"})
    if outcome["ran"] and "rms_error" in outcome:
        said = (
            f"agrees with ONNX Runtime on the {outcome['reference']}: difference "
            f"{outcome['rms_error']:.1e} of scale, noise {outcome['rms_noise']:.1e}"
        )
    elif outcome["ran"]:
        said = (
            f"agrees with ONNX Runtime: largest difference {outcome['max_rel_error']:.1e} of scale"
        )
    else:
        said = f"not checked numerically: {outcome['reason']}"
    console.print(said, soft_wrap=True)
    for name, relative in outcome.get("magnified", {}).items():
        console.print(
            f"note: output '{name}' differs by {relative:.1e} of scale, as the model magnifies "
            "rounding: no more than it does in ONNX Runtime itself",
            soft_wrap=True,
        )  # fmt: skip
    for refusal in outcome.get("refused", ()):
        sizes = ", ".join(f"{symbol} = {size}" for symbol, size in refusal["sizes"].items())
        console.print(
            f"note: refused at {sizes}, where ONNX Runtime runs the model: {refusal['reason']}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if (budget := manifest.measured.get("quantization", {}).get("budget")) is not None:
        console.print(formats.budget(BudgetFacts.model_validate(budget)), soft_wrap=True)
    for name, decibels in (
        manifest.measured.get("quantization", {}).get("output_sqnr_db", {}).items()
    ):
        if decibels is not None:
            console.print(
                f"quantization noise of {name}: {decibels:.1f} dB below the float model's signal",
                soft_wrap=True,
            )  # fmt: skip
