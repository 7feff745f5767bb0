"""What a server says of itself and its models."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from ingot.serving.models.served_model import ServedModel
from ingot.serving.protocol.datatypes import datatype_of

EXTENSIONS = (
    "binary_tensor_data",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "statistics",
    "system_shared_memory",
)
PLATFORM = "ingot"
_NANOSECONDS = 1e9
_OPEN = -1


def server_metadata() -> dict[str, Any]:
    """The server's name, version and extensions of the protocol."""
    return {
        "name": "ingot",
        "version": importlib.metadata.version("ingot"),
        "extensions": list(EXTENSIONS),
    }


def model_metadata(model: ServedModel, versions: list[str]) -> dict[str, Any]:
    """What a model takes and gives; an open size is -1."""
    return {
        "name": model.name,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in model.inputs],
        "outputs": [_tensor(spec) for spec in model.outputs],
    }


def _tensor(spec: Any) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": datatype_of(spec.dtype),
        "shape": [size if isinstance(size, int) else _OPEN for size in spec.shape],
    }


def model_statistics(model: ServedModel) -> dict[str, Any]:
    """Counts and durations of a model, as the protocol's statistics extension writes them."""
    counts = model.counts
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": int(counts.last * 1e3),
        "inference_count": counts.rows,
        "execution_count": counts.executions,
        "inference_stats": {
            "success": _duration(counts.success),
            "fail": _duration(counts.fail),
            "queue": _duration(counts.queue),
            "compute_input": {"count": 0, "ns": 0},
            "compute_infer": _duration(counts.compute),
            "compute_output": {"count": 0, "ns": 0},
        },
        "batch_stats": [
            {"batch_size": rows, "compute_infer": _duration(duration)}
            for rows, duration in sorted(counts.batches.items())
        ],
    }


def _duration(duration: Any) -> dict[str, int]:
    return {"count": duration.count, "ns": int(duration.seconds * _NANOSECONDS)}
