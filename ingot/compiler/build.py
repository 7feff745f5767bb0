"""The driver: from a model and a recipe to a verified artifact."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import onnx
import onnx_ir as ir

from ingot.calibration.collection import Calibration
from ingot.compiler.accuracy.smoothing import has_quantized_activations
from ingot.compiler.agreement import (
    Runnable,
    compare_with_quantized,
    compare_with_reference,
    reason_elsewhere,
)
from ingot.compiler.artifact_writer import (
    Content,
    content_size,
    describe_members,
    describe_weights,
    serialize_weights,
    write_artifact,
)
from ingot.compiler.data import DataLike, open_calibration, open_model_data
from ingot.compiler.destinations import (
    ARTIFACT_SUFFIX,
    artifact_path,
    files_read,
    require_destinations,
)
from ingot.compiler.fresh_process.session import FreshSession
from ingot.compiler.ingest import Ingested, ingest
from ingot.compiler.messages import artifact_notes, require_lowerings
from ingot.compiler.narrowing import known_scales
from ingot.compiler.quantization import (
    Quantized,
    finish_quantization,
    make_passes,
    precision_facts,
    require_precision,
    was_lossy,
)
from ingot.compiler.recipe import Precision, PruneOptions, Recipe, load_recipe
from ingot.data import Dataset
from ingot.errors import UsageError, VerificationError, own_errors
from ingot.files import scratch_folder
from ingot.passes.manager import PassManager
from ingot.passes.storage import save
from ingot.progress import Progress, no_progress
from ingot.runtime.manifest import (
    CODE_MEMBER,
    FORMAT_VERSION,
    WEIGHTS_MEMBER,
    Manifest,
)
from ingot.runtime.peak_memory import peak_resident_bytes
from ingot.runtime.session import Session
from ingot.targets.base import Lowered, Target
from ingot.targets.fallback import lower_with_regions
from ingot.targets.registry import parse_target
from ingot.targets.tensor_specs import tensor_specs

__all__ = ["ARTIFACT_SUFFIX", "Artifact", "compile_model"]

_TOOLS = ("ingot", "apache-tvm", "apache-tvm-ffi", "onnx", "onnx-ir", "onnxscript", "onnxsim",
          "onnxruntime", "numpy", "ziglang")  # fmt: skip

_STAGES = {
    "ingest": "reading and checking the model",
    "passes": "running the passes",
    "lower": "generating code",
    "write": "packing the artifact",
    "verify": "checking the code against ONNX Runtime",
}


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A compiled model on disk.

    Attributes:
        path: The ``*.ingot`` file.
        manifest: What the file says of itself.
    """

    path: Path
    manifest: Manifest

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self.path.stat().st_size

    def session(self, *, threads: int | None = None) -> Session:
        """Loads the artifact; see :class:`ingot.runtime.Session`."""
        return Session(self.path, threads=threads)


@own_errors()
def compile_model(
    model: str | Path | onnx.ModelProto | ir.Model,
    output: str | Path | None = None,
    *,
    target: str | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    quantize: Literal["int8"] | None = None,
    precision: Precision | None = None,
    calibration: DataLike | None = None,
    accuracy_budget: float | None = None,
    prune: float | str | None = None,
    data: Dataset | str | Path | None = None,
    verify_data: DataLike | None = None,
    dump_passes: str | Path | None = None,
    save_graph: str | Path | None = None,
    fallback: bool | None = None,
    progress: Progress = no_progress,
) -> Artifact:
    """Compiles a model to an artifact.

    The graph is checked after each pass, and the compiled code at the end, against ONNX Runtime:
    on the model as it was given, or on the quantized graph where a pass is lossy by intent.

    Args:
        model: An ONNX file or a model in memory.
        output: Where the artifact goes; by default the model's name with ``.ingot``, here.
        target: Overrides the recipe's target, such as ``cpu`` or ``cpu:mcpu=znver4,threads=2``.
        recipe: A recipe, its file, its name, or its keys; by default ``fp32``.
        shapes: Shapes of inputs by name, over the recipe's.
        quantize: ``int8`` adds quantization to a recipe that has none.
        precision: ``int8``, ``bf16`` or ``fp16`` adds the passes for it to a recipe that has none.
        calibration: What quantization is calibrated with, over the recipe's: a path, a data set,
            or any iterable of mappings from input name to array.
        accuracy_budget: Largest loss of accuracy by quantization, in the unit of the data's metric:
            as many layers as it takes stay in float.
        prune: Part of the parameters that is pruned with whole channels, or N:M (``2:4``: of each
            four input channels two stay); over the recipe's.
        data: Labelled data to hold the budget on, over the recipe's; by default the calibration
            data, where that carries labels.
        verify_data: Real inputs that outputs are compared on before random ones, over the recipe's:
            a path, a data set, or any iterable of mappings from input name to array.
        dump_passes: A folder that receives the graph after each pass.
        save_graph: An ``.onnx`` file that receives the graph that code is generated from.
        fallback: Whether ONNX Runtime may run what cannot be compiled, over the recipe's.
        progress: Told what is being done (each stage, pass, sample and layer), how much of it is
            done, and of how much (0 where that is not known).

    Returns:
        The artifact that was written.

    Raises:
        ModelError: The model is damaged, invalid or has what cannot be lowered.
        UsageError: The recipe, the target or a shape is wrong, or the output cannot be written or
            is what is read.
        VerificationError: A pass or the compiled code changed the results beyond tolerance, or
            the model cannot be run on random inputs, so that nothing can be verified.
        ArtifactError: The file cannot be written; nothing is left behind.

    Example:
        >>> import ingot
        >>> artifact = ingot.compile("model.onnx", "model.ingot")  # doctest: +SKIP
        >>> artifact.session(threads=2).run({"image": image})  # doctest: +SKIP
    """
    plan = plan_recipe(
        recipe, target, shapes, quantize, precision, accuracy_budget, prune, fallback
    )
    if plan.guard:
        raise UsageError(
            f"recipe '{plan.name}' is guarded: its steps are kept by what is measured, which "
            "`ingot compile` and `ingot.optimize` do"
        )
    chosen = parse_target(plan.target)
    path = artifact_path(output, model)
    read = files_read(model, recipe, plan, calibration, data, verify_data)
    require_destinations(path, read, dump_passes=dump_passes, save_graph=save_graph)
    begin_stage = _Stages(progress)
    begin_stage("ingest")
    source = ingest(
        model,
        shapes=plan.shapes,
        batch=chosen.batch,
        simplified=plan.simplify,
        seed=plan.verify.seed,
        verify_data=plan.verify.data if verify_data is None else verify_data,
        knows=chosen.knows,
    )
    if plan.verify.enabled and source.unverifiable:
        raise VerificationError(
            f"{source.name} cannot be verified: {source.unverifiable}; to compile it all the same, "
            "set verify.enabled = false in the recipe"
        )
    if not plan.fallback:
        require_lowerings(source.model, chosen)
    require_destinations(path, source.files, dump_passes=dump_passes, save_graph=save_graph)
    samples = _open_calibration(calibration, plan, source, model, progress)
    passes = make_passes(plan, chosen, samples)
    begin_stage("passes")
    check = source.first_check() if plan.verify.enabled else None
    dumps = None if dump_passes is None else Path(dump_passes)
    manager = PassManager(passes, check=check, dump_dir=dumps, progress=progress)
    run = manager.run(source.model)
    source = dataclasses.replace(source, notes=(*source.notes, *run.notes))
    labelled = _open_labelled(data, calibration, plan, source, model)
    lossy = was_lossy(passes, run.records)
    outcome = finish_quantization(
        run.model, lossy, samples, plan.accuracy_budget, labelled, progress
    )
    if save_graph is not None:
        save(outcome.model, Path(save_graph))
    begin_stage("lower")
    # ONNX Runtime alone is best given what it has seen from others: its fusions know those forms.
    unchanged = not outcome.lossy and not has_quantized_activations(outcome.model)
    whole = source.original if unchanged else outcome.model
    lowered = lower_with_regions(chosen, outcome.model, whole, fallback=plan.fallback)
    begin_stage("write")
    members: dict[str, Content] = {
        **({} if lowered.code is None else {CODE_MEMBER: lowered.code}),
        WEIGHTS_MEMBER: serialize_weights(
            {**lowered.weights, **lowered.region_weights},
            known_scales(source.original, outcome.model),
        ),
        **lowered.members,
    }
    told = artifact_notes(source.size, sum(map(content_size, members.values())), lowered.placement)
    source = dataclasses.replace(source, notes=(*source.notes, *told))
    measured = {
        **begin_stage.finish(),
        "lowering_seconds": dict(lowered.stage_seconds),
        "passes": [record.model_dump(mode="json") for record in run.records],
        **({"quantization": dict(outcome.facts)} if outcome.facts else {}),
    }
    manifest = _manifest(source, outcome, plan, chosen, lowered, members, measured)
    if samples is not None:
        facts = {
            "sha256": samples.digest,
            "data": samples.description,
            "notes": list(samples.notes),
        }
        manifest = dataclasses.replace(manifest, calibration=facts)
    if plan.verify.enabled:
        manifest = _verified(path, manifest, members, source, plan, outcome, begin_stage)
    write_artifact(path, manifest, members)
    return Artifact(path, manifest)


def plan_recipe(
    recipe: str | Path | Mapping[str, Any] | Recipe | None,
    target: str | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    quantize: Literal["int8"] | None = None,
    precision: Precision | None = None,
    accuracy_budget: float | None = None,
    prune: float | str | None = None,
    fallback: bool | None = None,
) -> Recipe:
    """The recipe with what the call says over it; see :func:`compile_model`.

    Raises:
        UsageError: The recipe or a value is wrong, or they contradict each other.
    """
    plan = load_recipe(recipe)
    if quantize not in (None, "int8"):
        raise UsageError(f"a model cannot be quantized to {quantize!r}; possible is int8")
    if quantize is not None and precision not in (None, quantize):
        raise UsageError(f"one of quantize={quantize} and precision={precision} has to go")
    wanted = precision or quantize
    if wanted is not None:
        plan = plan.computed_in(wanted)
    plan = plan.model_copy(
        update={
            "target": target or plan.target,
            "fallback": plan.fallback if fallback is None else fallback,
            "accuracy_budget": (
                plan.accuracy_budget if accuracy_budget is None else accuracy_budget
            ),
            "shapes": {**plan.shapes, **{k: tuple(v) for k, v in (shapes or {}).items()}},
        }
    )
    if prune is not None:
        plan = plan.model_copy(update={"prune": PruneOptions.parse(str(prune))})
    require_precision(plan)
    return plan


def _open_calibration(
    given: DataLike | None,
    plan: Recipe,
    source: Ingested,
    model: str | Path | onnx.ModelProto | ir.Model,
    progress: Progress,
) -> Calibration | None:
    data = plan.calibration.data if given is None else given
    if data is None:
        return None
    folder = Path(model).parent if isinstance(model, (str, Path)) else Path()
    return open_calibration(
        data, source.original, folder, limit=plan.calibration.limit, progress=progress
    )


def _open_labelled(
    given: Dataset | str | Path | None,
    calibration: DataLike | None,
    plan: Recipe,
    source: Ingested,
    model: str | Path | onnx.ModelProto | ir.Model,
) -> Dataset | None:
    """The data that an accuracy budget is held on; what is calibrated with, if nothing else is."""
    if plan.accuracy_budget is None:
        return None
    data: DataLike | None = plan.data if given is None else given
    if data is None:
        data = plan.calibration.data if calibration is None else calibration
    if not isinstance(data, (Dataset, str, Path)):
        return None
    folder = Path(model).parent if isinstance(model, (str, Path)) else Path()
    return open_model_data(data, source.original, folder)


class _Stages:
    """Times the stages of a build, each from its beginning to the next one's."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._begun: list[tuple[str, float]] = []
        self._peaks: list[int] = []

    def __call__(self, stage: str) -> None:
        if self._begun:
            self._peaks.append(peak_resident_bytes())
        self._begun.append((stage, time.perf_counter()))
        self._progress(_STAGES[stage], 0, 0)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Returns the seconds of each stage begun so far, and the process's peak up to its end."""
        names = [stage for stage, _ in self._begun]
        begins = [begin for _, begin in self._begun]
        ends = [*begins[1:], time.perf_counter()]
        peaks = [*self._peaks, peak_resident_bytes()]
        return {
            "stage_seconds": {
                name: end - begin for name, begin, end in zip(names, begins, ends, strict=True)
            },
            "stage_peak_bytes": dict(zip(names, peaks, strict=True)),
        }


def _manifest(
    source: Ingested,
    outcome: Quantized,
    plan: Recipe,
    target: Target,
    lowered: Lowered,
    members: Mapping[str, Content],
    measured: Mapping[str, Any],
) -> Manifest:
    recipe = plan.model_dump(mode="json")
    recipe["target"] = target.spec
    return Manifest(
        format_version=FORMAT_VERSION,
        name=source.name,
        inputs=tensor_specs(outcome.model.graph.inputs, in_code=lowered.code is not None),
        outputs=tensor_specs(outcome.model.graph.outputs, in_code=lowered.code is not None),
        weights=describe_weights({**lowered.weights, **lowered.region_weights}),
        parameters=tuple(lowered.weights),
        target=lowered.info,
        precision=precision_facts(plan, outcome.model),
        recipe=recipe,
        source={"sha256": source.sha256, "opset": source.opset, "notes": list(source.notes)},
        calibration={},
        placement=lowered.placement,
        regions=lowered.regions,
        members=describe_members(members),
        tools={name: importlib.metadata.version(name) for name in _TOOLS},
        measured=measured,
    )


def _verified(
    path: Path,
    manifest: Manifest,
    members: Mapping[str, Content],
    source: Ingested,
    plan: Recipe,
    outcome: Quantized,
    begin_stage: _Stages,
) -> Manifest:
    """Runs the code against the reference; returns the manifest with what came out."""
    begin_stage("verify")
    found: dict[str, Any]
    if (elsewhere := reason_elsewhere(manifest)) is not None:
        found = {"ran": False, "reason": elsewhere}
    else:
        with scratch_folder(path.parent) as folder:
            trial = folder / "trial.ingot"
            write_artifact(trial, manifest, members)
            with FreshSession(trial, trust=False) as session:
                found = _compare(session, source, plan, outcome)
    measured: dict[str, Any] = {"verification": found}
    measured |= begin_stage.finish()
    return dataclasses.replace(manifest, measured={**manifest.measured, **measured})


def _compare(
    session: Runnable, source: Ingested, plan: Recipe, outcome: Quantized
) -> dict[str, Any]:
    if not outcome.lossy and not has_quantized_activations(outcome.model):
        return compare_with_reference(session, source.original, source.samples, plan.verify.rtol)
    samples = [*outcome.samples, *(sample.inputs for sample in source.samples)]
    return compare_with_quantized(session, outcome.model, samples)
