"""Which opset the file was written in: what a message says, whatever the graph is converted to."""

from __future__ import annotations

import onnx_ir as ir

_KEY = "ingot.source_opset"


def note_source_opset(model: ir.Model) -> None:
    """Remembers the opset of a model that was just read; copies of its graph remember it too."""
    model.graph.meta[_KEY] = model.opset_imports.get("", 1)


def source_opset(model: ir.Model) -> int:
    """The opset of the source; of the graph itself where nothing is remembered."""
    return int(model.graph.meta.get(_KEY, model.opset_imports.get("", 1)))
