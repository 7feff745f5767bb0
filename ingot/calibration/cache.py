"""Statistics kept on disk, found again by what they were computed from.

A file's name is a digest of the model (graph and weights), the data, the versions of what computes
and the source of what counts; it holds the tensors that have been asked for so far. A file that is
not what was stored counts for nothing: statistics can always be computed again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir

from ingot.cached import DamagedCacheError, read_entry, write_entry
from ingot.calibration import activations, histogram, observer
from ingot.calibration.histogram import Histogram
from ingot.calibration.statistics import ChannelStatistics, TensorStatistics
from ingot.reference import session

_TOOLS = ("ingot", "onnxruntime", "numpy")
_COUNTING: tuple[ModuleType, ...] = (activations, histogram, observer, session)
_SCALARS = ("samples", "count", "minimum", "maximum", "moving_minimum", "moving_maximum", "mean")


class StatisticsCache:
    """The statistics of one model on certain data, in a folder.

    Args:
        folder: Where files are kept; made when something is stored.
        model: The model that was run.
        data: Digest of the samples.
    """

    def __init__(self, folder: Path, model: ir.Model, data: str) -> None:
        key = hashlib.sha256(_counting_digest())
        key.update(f"{model_digest(model)}\0{data}\0".encode())
        for tool in _TOOLS:
            key.update(f"{tool}\0{importlib.metadata.version(tool)}\0".encode())
        self.path = folder / f"{key.hexdigest()}.statistics"

    def load(self) -> dict[str, TensorStatistics]:
        """Returns what is known, by tensor.

        Raises:
            DamagedCacheError: The file is not what was stored; it is better replaced.
        """
        content = read_entry(self.path)
        if content is None:
            return {}
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                facts = json.loads(stored["facts"].tobytes().decode())
                return {
                    entry["tensor"]: _unpacked(entry, stored, index)
                    for index, entry in enumerate(facts)
                }
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DamagedCacheError(f"{self.path} holds no statistics") from error

    def store(self, statistics: Mapping[str, TensorStatistics]) -> None:
        """Replaces the file, whole or not at all.

        Raises:
            IngotError: The file cannot be written.
        """
        arrays: dict[str, Any] = {}
        facts = []
        for index, (tensor, found) in enumerate(statistics.items()):
            histogram, channels = found.histogram, found.channels
            facts.append(
                {name: getattr(found, name) for name in _SCALARS}
                | {"tensor": tensor, "first": histogram.first, "width": histogram.width}
                | {"zeros": histogram.zeros, "axis": None if channels is None else channels.axis}
            )
            arrays[f"{index}.counts"] = histogram.counts
            if channels is not None:
                arrays |= {
                    f"{index}.{name}": getattr(channels, name)
                    for name in ("minimum", "maximum", "mean")
                }
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        write_entry(self.path, content.getvalue())


def model_digest(model: ir.Model) -> str:
    """SHA-256 (hex) over a model's graph and weights."""
    digest = hashlib.sha256()
    copy = model.clone()
    for graph in copy.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None:
                continue
            digest.update(tensor.tobytes())
            # The message below holds the name, dtype and shape alone: it could not hold 2 GB.
            value.const_value = ir.ExternalTensor(
                "digested",
                0,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=name,
            )
    digest.update(ir.to_proto(copy).SerializeToString(deterministic=True))
    return digest.hexdigest()


def _unpacked(entry: Mapping[str, Any], stored: Mapping[str, Any], index: int) -> TensorStatistics:
    histogram = Histogram(entry["first"], entry["width"], stored[f"{index}.counts"], entry["zeros"])
    channels = None
    if entry["axis"] is not None:
        figures = (stored[f"{index}.{name}"] for name in ("minimum", "maximum", "mean"))
        channels = ChannelStatistics(entry["axis"], *figures)
    return TensorStatistics(
        **{name: entry[name] for name in _SCALARS}, histogram=histogram, channels=channels
    )


@functools.cache
def _counting_digest() -> bytes:
    """Digest of the modules that compute statistics: a change of them is a new version."""
    digest = hashlib.sha256()
    for file in (__file__, *(module.__file__ for module in _COUNTING)):
        assert file is not None
        digest.update(Path(file).read_bytes())
    return digest.digest()
