"""Keras layers models in TensorFlow.js form, as weights in PyTorch's conventions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ModelError
from ingot.models.checkpoints.tfjs import read_model_json, read_weights

_PARAMETERS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def read_keras(
    model_json: bytes, read_shard: Callable[[str], bytes], name: str
) -> dict[str, npt.NDArray[Any]]:
    """Reads the weights of convolutions, dense layers and batch norms.

    Args:
        model_json: The model's ``model.json``.
        read_shard: Gives a shard's bytes by its path.
        name: What error messages call the model.

    Returns:
        Arrays by ``<layer>.<parameter>``: kernels [out, in, h, w] and [out, in].

    Raises:
        ModelError: The model is damaged or has a parameter of another kind.
    """
    model = read_model_json(model_json, name)
    weights: dict[str, npt.NDArray[Any]] = {}
    for path, array in read_weights(model, read_shard, name).items():
        layer, _, parameter = path.partition("/")
        if parameter not in _PARAMETERS:
            raise ModelError(f"{name}: no reading of the weight {path!r}")
        weights[f"{layer}.{_PARAMETERS[parameter]}"] = _pytorch_layout(array)
    return weights


def _pytorch_layout(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim == 4:  # HWIO
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    if array.ndim == 2:  # in, out
        return np.ascontiguousarray(array.T)
    return array
