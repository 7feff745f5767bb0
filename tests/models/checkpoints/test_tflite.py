"""TensorFlow Lite's weights come in Keras's names and PyTorch's layouts."""

import numpy as np
import pytest

from ingot.errors import ModelError
from tests.models.mlperf_tiny import mlperf_tiny

pytest.importorskip("tflite", reason="the extra checkpoints is not installed")

from ingot.models.checkpoints.tflite import read_tflite


def test_layers_are_named_by_kind_and_order():
    weights = read_tflite(mlperf_tiny("kws_ref_model_float32.tflite").read_bytes(), "kws")

    shapes = {key: array.shape for key, array in weights.items() if key.endswith("weight")}
    assert shapes == {
        "conv2d.weight": (64, 1, 10, 4),
        "depthwise_conv2d.weight": (64, 1, 3, 3),
        "conv2d_1.weight": (64, 64, 1, 1),
        "depthwise_conv2d_1.weight": (64, 1, 3, 3),
        "conv2d_2.weight": (64, 64, 1, 1),
        "depthwise_conv2d_2.weight": (64, 1, 3, 3),
        "conv2d_3.weight": (64, 64, 1, 1),
        "depthwise_conv2d_3.weight": (64, 1, 3, 3),
        "conv2d_4.weight": (64, 64, 1, 1),
        "dense.weight": (12, 64),
    }
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}


def test_weights_of_int8_come_as_what_they_stand_for():
    weights = read_tflite(mlperf_tiny("kws_ref_model_float32.tflite").read_bytes(), "kws")

    # Each filter has a scale of its own; two of its 64 weights are neighbours on that grid.
    for row in weights["conv2d_1.weight"]:
        steps = row / np.diff(np.unique(row)).min()
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)
        assert np.abs(np.rint(steps)).max() <= 127


def test_a_model_of_quantized_activations_is_refused():
    data = mlperf_tiny("kws_ref_model.tflite").read_bytes()

    with pytest.raises(ModelError, match="kws: conv2d is quantized: give the model of float"):
        read_tflite(data, "kws")


def test_a_file_of_another_kind_and_a_truncated_one_are_refused():
    data = mlperf_tiny("ad01_fp32.tflite").read_bytes()

    with pytest.raises(ModelError, match="net is no TensorFlow Lite model"):
        read_tflite(b"PK\x03\x04 and so on", "net")
    with pytest.raises(ModelError, match="net is damaged"):
        read_tflite(data[: len(data) // 2], "net")
