"""Getting variants for NPUs ready: a model is quantized once, whatever it is to run on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from ingot.compiler.data import DataLike
from ingot.compiler.recipe import Recipe
from ingot.progress import Progress, no_progress
from ingot.report.npu import computed_alike
from ingot.report.variants import Prepared, Variant, prepare


@dataclasses.dataclass(frozen=True)
class ForNpus:
    """Variants for NPUs.

    Attributes:
        prepared: Each variant, compiled.
        peers: The graphs that they were compiled from, for ONNX Runtime: as many as recipes.
        judged_as: For each variant, the index of the first whose results are the same bits.
    """

    prepared: list[Prepared]
    peers: list[Prepared]
    judged_as: list[int]


def prepare_for_npus(
    variants: Sequence[Variant],
    model: Path,
    model_bytes: int,
    folder: Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    calibration: DataLike | None = None,
    progress: Progress = no_progress,
) -> ForNpus:
    """Compiles variants for NPUs.

    What a recipe makes of the model is compiled for the first of its NPUs, and the same graph for
    the others.

    Args:
        variants: Which ones; those with an artifact are taken as they are.
        model: The source model's ``.onnx`` file.
        model_bytes: Size of the source model with its external data.
        folder: Where new artifacts go.
        shapes: What symbolic dimensions are bound to.
        calibration: What quantization is calibrated with, over the recipe's.
        progress: Told how far the compilation is.

    Raises:
        IngotError: The model cannot be compiled.
    """
    prepared: list[Prepared] = []
    peers: list[Prepared] = []
    graphs: dict[str, tuple[Path, Prepared]] = {}
    for variant in variants:
        key = _without_target(variant.recipe)
        if key in graphs:
            prepared.append(_from_graph(variant, *graphs[key], folder, progress))
            continue
        graph = folder / f"graph{len(graphs)}.onnx"
        prepared.append(
            prepare(
                variant,
                model,
                model_bytes,
                folder,
                shapes=shapes,
                calibration=calibration,
                save_graph=None if key is None else graph,
                progress=progress,
            )
        )
        if key is not None and variant.recipe is not None:
            graphs[key] = graph, prepared[-1]
            if _quantizes(variant.recipe):
                peers.append(_peer(variant.recipe, graph))
    alike = [() if entry.manifest is None else computed_alike(entry.manifest) for entry in prepared]
    return ForNpus(prepared, peers, [alike.index(entry) for entry in alike])


def _from_graph(
    variant: Variant, graph: Path, first: Prepared, folder: Path, progress: Progress
) -> Prepared:
    """Compiles the graph of another NPU's variant; what made that graph is told of both."""
    assert variant.recipe is not None and first.build is not None
    options = {"passes": (), "simplify": False, "accuracy_budget": None, "precision": "fp32"}
    as_it_is = dataclasses.replace(variant, recipe=variant.recipe.model_copy(update=options))
    made = prepare(as_it_is, graph, 0, folder, progress=progress)
    assert made.build is not None
    build = made.build.model_copy(
        update={
            "recipe": {**first.build.recipe, "target": made.build.target},
            "passes": first.build.passes,
            "quantization": first.build.quantization,
        }
    )
    return dataclasses.replace(made, variant=variant, precision=first.precision, build=build)


def _peer(recipe: Recipe, graph: Path) -> Prepared:
    variant = Variant(f"ONNX Runtime {recipe.name}", "onnxruntime")
    return Prepared(variant, graph, graph.stat().st_size, recipe.precision, None)


def _quantizes(recipe: Recipe) -> bool:
    return any(spec.name.partition(".")[0] == "quantization" for spec in recipe.passes)


def _without_target(recipe: Recipe | None) -> str | None:
    return None if recipe is None else recipe.model_dump_json(exclude={"target"})
