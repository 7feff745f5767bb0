"""Writing a model to a file or to bytes, whatever its size.

Protocol Buffers end at 2 GB; above it the weights go to a file of their own beside the model, as
ONNX's external data.
"""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from ingot.files import atomic_file, scratch_folder
from ingot.onnx_graph.protos import write_proto
from ingot.passes.difference import initializer_bytes

# Below protobuf's 2**31 - 1, with room for the graph itself.
INLINE_LIMIT = 1_900_000_000


def fits_inline(model: ir.Model, limit: int = INLINE_LIMIT) -> bool:
    """Whether the model's weights fit into one protobuf message."""
    return initializer_bytes(model) <= limit


def to_bytes(model: ir.Model) -> bytes:
    """Serializes a model with all of its weights inside; the model is not changed."""
    copy = model.clone()
    ir.external_data.load_to_model(copy)
    serialized: bytes = write_proto(copy).SerializeToString()
    return serialized


def save(model: ir.Model, path: Path, *, limit: int = INLINE_LIMIT) -> None:
    """Writes the model to ``path``, with ``path.name + '.data'`` beside it when it is too large.

    Args:
        model: The model, not changed.
        path: The file to write.
        limit: Largest size of the weights, in bytes, that are kept inside of the file.

    Raises:
        IngotError: The file cannot be written; what was there is as it was.
        OSError: The data beside it cannot be written.
    """
    if fits_inline(model, limit):
        with atomic_file(path) as file:
            file.write(to_bytes(model))
        return
    with scratch_folder(path.parent) as folder:
        data = f"{path.name}.data"
        ir.save(model.clone(), folder / path.name, external_data=data)
        # The model comes last: where it lies, its weights do too.
        for name in (data, path.name):
            (folder / name).replace(path.with_name(name))
