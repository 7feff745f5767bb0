"""What is compared: variants of a model, and how each gets ready to be measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from ingot.compiler.build import ARTIFACT_SUFFIX, compile_model
from ingot.compiler.data import DataLike
from ingot.compiler.optimization_record import read_optimization
from ingot.compiler.recipe import Recipe, load_recipe
from ingot.errors import UsageError
from ingot.passes.record import PassRecord
from ingot.progress import Progress, no_progress
from ingot.report.npu import is_for_npu
from ingot.report.process import EngineName
from ingot.report.schema import Build, Quantization
from ingot.runtime import ArtifactReader, Manifest

RecipeLike: TypeAlias = "str | Path | Mapping[str, Any] | Recipe"

# Their names, and the precision in which they run a float model.
_PEERS: dict[EngineName, tuple[str, str]] = {
    "onnxruntime": ("ONNX Runtime", "fp32"),
    "openvino": ("OpenVINO", "fp32"),
    "openvino_bf16": ("OpenVINO", "bf16"),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to run a model.

    Attributes:
        name: For tables; unique within a report.
        engine: Who runs it.
        recipe: How Ingot compiles it; None for a peer or an artifact that exists.
        artifact: An artifact that exists already.
    """

    name: str
    engine: EngineName
    recipe: Recipe | None = None
    artifact: Path | None = None

    @property
    def for_npu(self) -> bool:
        """Whether an NPU is to run it, which cannot be timed here."""
        if self.artifact is not None:
            return is_for_npu(ArtifactReader(self.artifact).manifest)
        return self.recipe is not None and _is_npu(self.recipe.target)

    @classmethod
    def peer(cls, engine: str) -> Variant:
        """The model as it is, run by another engine.

        Raises:
            UsageError: There is no such peer.
        """
        for known, (label, precision) in _PEERS.items():
            if known == engine:
                return cls(f"{label} {precision}", known)
        raise UsageError(f"no peer {engine!r} to compare with; possible are {', '.join(_PEERS)}")

    @classmethod
    def ingot(cls, recipe: RecipeLike, *, target: str | None = None) -> Variant:
        """The model compiled by Ingot with a recipe (its name, file, keys, or itself).

        Raises:
            UsageError: The recipe is wrong.
        """
        loaded = load_recipe(recipe)
        if target is not None:
            loaded = loaded.model_copy(update={"target": target})
        name = f"Ingot {loaded.name}"
        if _is_npu(loaded.target):
            name = f"{name} on {loaded.target.partition(':')[2]}"
        return cls(name, "ingot", recipe=loaded)

    @classmethod
    def compiled(cls, artifact: Path) -> Variant:
        """An artifact that exists already."""
        return cls(f"Ingot {artifact.stem}", "ingot", artifact=artifact)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A variant that is ready to be loaded.

    Attributes:
        variant: Which one.
        path: The artifact, or the ``.onnx`` file.
        size_bytes: Of the file and of external data that belongs to it.
        precision: Of weights and activations.
        build: How the artifact came to be; None for a peer.
        manifest: What the artifact says of itself; None for a peer.
    """

    variant: Variant
    path: Path
    size_bytes: int
    precision: str
    build: Build | None
    manifest: Manifest | None = None


def _is_npu(target: str) -> bool:
    return target.partition(":")[0] == "npu"


def with_unique_names(variants: Sequence[Variant]) -> list[Variant]:
    """Numbers the variants whose names occur more than once."""
    names = [variant.name for variant in variants]
    unique = []
    for index, variant in enumerate(variants):
        earlier = names[:index].count(variant.name)
        name = f"{variant.name} ({earlier + 1})" if earlier else variant.name
        unique.append(dataclasses.replace(variant, name=name))
    return unique


def prepare(
    variant: Variant,
    model: Path | None,
    model_bytes: int,
    folder: Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    calibration: DataLike | None = None,
    dump_passes: Path | None = None,
    save_graph: Path | None = None,
    progress: Progress = no_progress,
) -> Prepared:
    """Compiles a variant where it needs it.

    Args:
        variant: Which one.
        model: The source model's ``.onnx`` file; may be None for an artifact that exists.
        model_bytes: Size of the source model with its external data.
        folder: Where a new artifact goes.
        shapes: What symbolic dimensions are bound to.
        calibration: What quantization is calibrated with, over the recipe's.
        dump_passes: A folder that receives the graph after each pass.
        save_graph: A file that receives the graph that code is generated from.
        progress: Told how far the compilation is.

    Raises:
        IngotError: The model cannot be compiled.
        UsageError: A peer was asked for without a model.
    """
    if variant.artifact is not None:
        return _prepared_artifact(variant, variant.artifact)
    if model is None:
        raise UsageError(f"{variant.name} needs the source model, only an artifact was given")
    if variant.engine != "ingot":
        _, precision = _PEERS[variant.engine]
        return Prepared(variant, model, model_bytes, precision, None)
    output = folder / f"{len(list(folder.iterdir()))}{ARTIFACT_SUFFIX}"
    started = time.perf_counter()
    artifact = compile_model(
        model,
        output,
        recipe=variant.recipe,
        shapes=shapes,
        calibration=calibration,
        dump_passes=dump_passes,
        save_graph=save_graph,
        progress=lambda what, done, total: progress(f"{variant.name}: {what}", done, total),
    )
    return _prepared_artifact(variant, artifact.path, time.perf_counter() - started)


def _prepared_artifact(variant: Variant, path: Path, seconds: float | None = None) -> Prepared:
    manifest = ArtifactReader(path).manifest
    if seconds is None:
        seconds = sum(manifest.measured.get("stage_seconds", {}).values())
    precision = str(manifest.precision.get("default", "fp32"))
    build = _build(manifest, seconds)
    return Prepared(variant, path, path.stat().st_size, precision, build, manifest)


def _build(manifest: Manifest, seconds: float | None) -> Build:
    return Build(
        seconds=seconds,
        stage_seconds=dict(manifest.measured.get("stage_seconds", {})),
        recipe=dict(manifest.recipe),
        target=manifest.target.spec,
        placement={place: _without_kernels(part) for place, part in manifest.placement.items()},
        passes=tuple(PassRecord.model_validate(record) for record in manifest.passes),
        notes=(
            *manifest.source.get("notes", ()),
            *manifest.calibration.get("notes", ()),
            *([manifest.left_to_onnxruntime] if manifest.left_to_onnxruntime else []),
        ),
        tools=dict(manifest.tools),
        quantization=None
        if "quantization" not in manifest.measured
        else Quantization.model_validate(manifest.measured["quantization"]),
        optimization=read_optimization(manifest.measured),
    )


def _without_kernels(part: Any) -> Any:
    """A part of the placement for a reader: which kernels there are is the profile's matter."""
    if not isinstance(part, Mapping):
        return part
    return {key: value for key, value in part.items() if key != "kernels"}
