"""Keras's weights come in PyTorch's names and layouts."""

import io
import json

import numpy as np
import pytest

from ingot.errors import ModelError
from ingot.models.checkpoints.keras import read_keras, read_keras_h5


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


def h5(weights):
    """A file as Keras 2 saves it."""
    h5py = pytest.importorskip("h5py", reason="the extra checkpoints is not installed")
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        for name, array in weights.items():
            layer, parameter = name.split("/")
            content[f"model_weights/{layer}/{layer}/{parameter}:0"] = array
    return file.getvalue()


def test_hdf5_has_the_same_names_and_layouts():
    kernel = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)  # h, w, in, out
    gamma = np.ones(5, np.float32)

    weights = read_keras_h5(h5({"conv/kernel": kernel, "bn/gamma": gamma}), "net")

    assert list(weights) == ["bn.weight", "conv.weight"]
    assert weights["conv.weight"][4, 3, 1, 2] == kernel[1, 2, 3, 4]


def test_a_depthwise_kernel_has_one_row_per_result():
    kernel = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)  # h, w, in, per in

    weights = read_keras_h5(h5({"dw/depthwise_kernel": kernel}), "net")

    assert weights["dw.weight"].shape == (8, 1, 2, 3)
    assert weights["dw.weight"][2 * 3 + 1, 0, 1, 2] == kernel[1, 2, 3, 1]


def test_a_damaged_hdf5_file_is_refused():
    content = h5({"fc/bias": np.zeros(1, np.float32)})

    with pytest.raises(ModelError, match="net is no HDF5 file, or is damaged"):
        read_keras_h5(content[:100], "net")
