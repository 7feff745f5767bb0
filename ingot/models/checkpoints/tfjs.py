"""The weights of a TensorFlow.js model: a JSON manifest and binary shards.

The manifest is the same for a Keras layers model and for a frozen graph; see the converter's
``tfjs_converter`` format notes at https://www.tensorflow.org/js/guide/conversion.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ModelError

_DTYPES = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4"), "bool": np.dtype("?")}


def read_model_json(data: bytes, name: str) -> dict[str, Any]:
    """Parses a ``model.json``; ``name`` is what error messages call it.

    Raises:
        ModelError: It is no JSON, or no TensorFlow.js model.
    """
    try:
        model = json.loads(data)
    except ValueError as error:
        raise ModelError(f"{name} is damaged: {error}") from error
    if not isinstance(model, dict) or not {"modelTopology", "weightsManifest"} <= set(model):
        raise ModelError(f"{name} is no TensorFlow.js model: modelTopology or weightsManifest lack")
    return model


def read_weights(
    model: dict[str, Any], read_shard: Callable[[str], bytes], name: str
) -> dict[str, npt.NDArray[Any]]:
    """Reads all weights of the manifest.

    Args:
        model: The parsed ``model.json``.
        read_shard: Gives a shard's bytes by the path that the manifest names.
        name: What error messages call the model.

    Returns:
        Arrays by weight name, in TensorFlow's layouts (convolution kernels are HWIO).

    Raises:
        ModelError: A weight is quantized or of an unknown dtype, or the shards do not hold
            exactly what the manifest says.
    """
    weights: dict[str, npt.NDArray[Any]] = {}
    for group in model["weightsManifest"]:
        data = b"".join(read_shard(path) for path in group["paths"])
        offset = 0
        for entry in group["weights"]:
            if "quantization" in entry or entry["dtype"] not in _DTYPES:
                raise ModelError(f"{name}: weight {entry['name']!r} is not plain float32 or int32")
            dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
            count = int(np.prod(shape, dtype=np.int64))
            end = offset + count * dtype.itemsize
            if end > len(data):
                raise ModelError(f"{name} is damaged: its shards end within {entry['name']!r}")
            array = np.frombuffer(data, dtype, count, offset)
            weights[entry["name"]] = array.reshape(shape).copy()
            offset = end
        if offset != len(data):
            raise ModelError(
                f"{name} is damaged: {len(data) - offset} bytes more than its manifest"
            )
    return weights
