"""Keras layers models, in TensorFlow.js form or HDF5, as weights in PyTorch's conventions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ModelError
from ingot.models.checkpoints.extra import require_extra
from ingot.models.checkpoints.tfjs import read_model_json, read_weights

_PARAMETERS = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
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
    arrays = read_weights(model, read_shard, name)
    return _renamed({_layer(path): array for path, array in arrays.items()}, name)


def read_keras_h5(data: bytes, name: str) -> dict[str, npt.NDArray[Any]]:
    """Reads the same from a model or weights that Keras 2 saved as HDF5.

    Args:
        data: The file's bytes.
        name: What error messages call the model.

    Returns:
        Arrays by ``<layer>.<parameter>``, as of ``read_keras``.

    Raises:
        ModelError: The file is damaged or has a parameter of another kind.
        IngotError: The package h5py is not installed.
    """
    require_extra("h5py", name)
    import h5py

    arrays: dict[tuple[str, str], npt.NDArray[Any]] = {}

    def collect(path: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            # <layer>/<scope, mostly the layer again>/<parameter>:0
            arrays[path.split("/")[0], path.split("/")[-1].partition(":")[0]] = np.asarray(entry)

    try:
        with h5py.File(io.BytesIO(data)) as file:
            file.get("model_weights", file).visititems(collect)
    except OSError as error:
        raise ModelError(f"{name} is no HDF5 file, or is damaged: {error}") from error
    return _renamed(arrays, name)


def _layer(path: str) -> tuple[str, str]:
    layer, _, parameter = path.partition("/")
    return layer, parameter


def _renamed(
    arrays: Mapping[tuple[str, str], npt.NDArray[Any]], name: str
) -> dict[str, npt.NDArray[Any]]:
    weights: dict[str, npt.NDArray[Any]] = {}
    for (layer, parameter), array in arrays.items():
        if parameter not in _PARAMETERS:
            raise ModelError(f"{name}: no reading of the weight {f'{layer}/{parameter}'!r}")
        moved = _per_channel(array) if parameter == "depthwise_kernel" else _pytorch_layout(array)
        weights[f"{layer}.{_PARAMETERS[parameter]}"] = moved
    return weights


def _pytorch_layout(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim == 4:  # HWIO
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    if array.ndim == 2:  # in, out
        return np.ascontiguousarray(array.T)
    return array


def _per_channel(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    rows, columns, channels, multiplier = array.shape
    moved = array.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, rows, columns)
    return np.ascontiguousarray(moved)
