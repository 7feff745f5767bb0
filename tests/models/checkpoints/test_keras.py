"""Keras's weights come in PyTorch's names and layouts."""

import json

import numpy as np
import pytest

from ingot.errors import ModelError
from ingot.models.checkpoints.keras import read_keras


def read(weights):
    entries = [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        for name, array in weights.items()
    ]
    model = {"modelTopology": {}, "weightsManifest": [{"paths": ["w"], "weights": entries}]}
    content = b"".join(array.tobytes() for array in weights.values())
    return read_keras(json.dumps(model).encode(), lambda _: content, "net")


def test_kernels_are_transposed_and_batch_norms_renamed():
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)  # h, w, in, out
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)  # in, out
    vectors = {p: np.full(4, i, np.float32) for i, p in enumerate("gbmv")}

    weights = read(
        {
            "conv/kernel": kernel,
            "fc/kernel": matrix,
            "fc/bias": vectors["b"],
            "bn/gamma": vectors["g"],
            "bn/beta": vectors["b"],
            "bn/moving_mean": vectors["m"],
            "bn/moving_variance": vectors["v"],
        }
    )

    assert weights["conv.weight"].shape == (5, 4, 2, 3)
    assert weights["conv.weight"][4, 3, 1, 2] == kernel[1, 2, 3, 4]
    np.testing.assert_array_equal(weights["fc.weight"], matrix.T)
    assert {key: value[0] for key, value in weights.items() if value.ndim == 1} == {
        "fc.bias": 1,
        "bn.weight": 0,
        "bn.bias": 1,
        "bn.running_mean": 2,
        "bn.running_var": 3,
    }


def test_a_parameter_of_another_kind_is_named():
    with pytest.raises(ModelError, match="'lstm/recurrent_kernel'"):
        read({"lstm/recurrent_kernel": np.zeros(1, np.float32)})
