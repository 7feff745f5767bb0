"""Where a build writes: settled before the work, and never what it reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from ingot.compiler.recipe import NAMED_RECIPES, Recipe
from ingot.errors import UsageError
from ingot.files import require_writable, require_writable_in

ARTIFACT_SUFFIX = ".ingot"
# The first of the graphs that the pass manager writes, and the form of all their names.
_FIRST_DUMP = "00-input.onnx"
_DUMP = re.compile(r"\d{2,}-.*\.onnx(\.data)?")
# Of a name that is none of a file: a graph may be called anything.
_LONGEST_NAME_BYTES = 200

Source = str | Path | onnx.ModelProto | ir.Model


def artifact_path(output: str | Path | None, model: Source) -> Path:
    """Where an artifact goes: what was asked for, or the model's name with ``.ingot``, here."""
    return Path(output) if output is not None else Path(f"{_name(model)}{ARTIFACT_SUFFIX}")


def files_read(model: Source, recipe: Any, plan: Recipe, *data: Any) -> list[str | Path]:
    """The files and folders that a build reads, as far as they are known before it.

    Args:
        model: The model.
        recipe: The recipe as it was given.
        plan: The same, loaded.
        data: Data sets, of which paths count.
    """
    named = isinstance(recipe, (Mapping, Recipe)) or str(recipe) in NAMED_RECIPES
    candidates = [
        model,
        None if named else recipe,
        plan.calibration.data,
        plan.data,
        plan.verify.data,
        *data,
    ]
    return [given for given in candidates if isinstance(given, (str, Path))]


def require_destinations(
    path: Path,
    read: Iterable[str | Path],
    *,
    dump_passes: str | Path | None = None,
    save_graph: str | Path | None = None,
) -> None:
    """Refuses places that a build cannot write to, or that it reads.

    Raises:
        UsageError: Names the first such place.
    """
    read = list(read)
    require_writable(path, inputs=read)
    if save_graph is not None:
        require_writable(Path(save_graph), inputs=read)
    if dump_passes is not None:
        require_dump_folder(Path(dump_passes), read)


def require_dump_folder(folder: Path, read: Iterable[str | Path]) -> None:
    """Refuses a folder for graphs between passes that cannot be written, or holds what is read.

    Raises:
        UsageError: It is such a folder.
    """
    read = list(read)
    require_writable_in(folder, [_FIRST_DUMP], inputs=read)
    for given in map(Path, read):
        beside = given.exists() and folder.exists() and given.parent.samefile(folder)
        if beside and _DUMP.fullmatch(given.name):
            raise UsageError(
                f"the graphs of --dump-passes {folder} might replace {given.name}, which is read: "
                "give another folder"
            )


def _name(model: Source) -> str:
    if isinstance(model, (str, Path)):
        return Path(model).stem
    name = re.sub(r"[/\0]", "_", model.graph.name or "") or "model"
    return name.encode("utf-8", "replace")[:_LONGEST_NAME_BYTES].decode("utf-8", "ignore")
