"""What of a model could be pruned, without pruning it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ingot.compiler.ingest import ingest
from ingot.compiler.recipe import NAMED_RECIPES
from ingot.passes.manager import PassManager
from ingot.passes.pruning.overview import Overview, overview
from ingot.passes.registry import create


def prunable(model: str | Path, shapes: Mapping[str, Sequence[int]] | None = None) -> Overview:
    """Describes the groups of channels of a model, as the passes of the default recipe leave it.

    Args:
        model: An ONNX file.
        shapes: Shapes of inputs by name; bind symbolic dimensions.

    Raises:
        ModelError: The file is no valid model.
        UsageError: A shape names no input or does not fit.
    """
    source = ingest(model, shapes=shapes)
    passes = [pass_ for spec in NAMED_RECIPES["fp32"].passes for pass_ in create(spec)]
    return overview(PassManager(passes).run(source.model).model.graph)
