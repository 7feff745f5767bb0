"""Models made of a checkpoint that the user gives: MLPerf Tiny's four."""

import numpy as np
import onnx
import onnxruntime
import pytest

from ingot.errors import ModelError, UsageError
from ingot.models.catalog import resolve
from ingot.models.checkpoint_models import CHECKPOINT_MODELS, export_checkpoint
from ingot.models.checkpoints.keras import read_keras_h5
from ingot.models.checkpoints.tflite import read_tflite
from tests.models.mlperf_tiny import CHECKPOINTS, mlperf_tiny

# float32 values of the published networks, batch norms and projections included.
PARAMETERS = {"resnet8": 78_666, "vww_mobilenet": 221_794, "ds_cnn": 22_604, "autoencoder": 265_864}


def exported(name, tmp_path, file=None):
    output = tmp_path / f"{name}.onnx"
    export_checkpoint(name, mlperf_tiny(file or CHECKPOINTS[name]), output)
    return output


def outputs(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": inputs})[0]


def random_inputs(model, batch=2):
    """Values of the size that the model was trained on."""
    generator = np.random.default_rng(0)
    shape = [d.dim_value or batch for d in model.graph.input[0].type.tensor_type.shape.dim]
    if shape[1:] == [3, 32, 32]:
        return generator.integers(0, 256, shape).astype(np.float32)
    if len(shape) == 4 and shape[1] == 3:
        return generator.uniform(0, 1, shape).astype(np.float32)
    return (20 * generator.normal(size=shape)).astype(np.float32)


def softmax(logits):
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("name", CHECKPOINT_MODELS)
def test_an_export_is_valid_and_says_what_it_is(name, tmp_path):
    path = exported(name, tmp_path)

    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert sum(np.prod(t.dims, dtype=int) for t in model.graph.initializer) == PARAMETERS[name]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["ingot.model"] == name
    assert metadata["ingot.origin"].startswith(f"{CHECKPOINTS[name]} sha256:")
    assert resolve(path).preprocessing == CHECKPOINT_MODELS[name].preprocessing
    assert outputs(path, random_inputs(model)).std() > 0


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("resnet8", "pretrainedResnet.tflite"),
        ("autoencoder", "ad01_fp32.tflite"),
    ],
)
def test_it_computes_what_tensorflow_lite_computes_of_the_published_file(name, file, tmp_path):
    interpreter = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="TensorFlow Lite (ai-edge-litert) is not installed"
    )
    path = exported(name, tmp_path)
    inputs = random_inputs(onnx.load(path), batch=1)

    lite = interpreter.Interpreter(str(mlperf_tiny(file)))
    lite.allocate_tensors()
    nhwc = inputs.transpose(0, 2, 3, 1) if inputs.ndim == 4 else inputs
    lite.set_tensor(lite.get_input_details()[0]["index"], np.ascontiguousarray(nhwc))
    lite.invoke()
    expected = lite.get_tensor(lite.get_output_details()[0]["index"])

    found = outputs(path, inputs)
    found = found if name == "autoencoder" else softmax(found)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_both_published_forms_of_a_network_are_the_same_function(tmp_path):
    keras = exported("resnet8", tmp_path)
    inputs = random_inputs(onnx.load(keras))
    expected = outputs(keras, inputs)

    lite = exported("resnet8", tmp_path, "pretrainedResnet.tflite")

    # Batch norms are folded in the one and not in the other.
    np.testing.assert_allclose(outputs(lite, inputs), expected, rtol=1e-4, atol=1e-4)


def test_the_visual_wake_words_network_is_its_layers_one_after_the_other(tmp_path):
    path = exported("vww_mobilenet", tmp_path)
    weights = read_keras_h5(mlperf_tiny("vww_96.h5").read_bytes(), "vww")
    inputs = random_inputs(onnx.load(path), batch=1)

    x = inputs[0]
    for index in range(27):
        strides = 2 if index in (0, 3, 7, 11, 23) else 1
        x = separable_layer(x, weights, index, strides)
    expected = weights["dense.weight"] @ x.mean(axis=(1, 2)) + weights["dense.bias"]

    np.testing.assert_allclose(outputs(path, inputs)[0], expected, rtol=1e-4, atol=1e-4)


def test_the_keyword_network_is_its_layers_one_after_the_other(tmp_path):
    path = exported("ds_cnn", tmp_path)
    weights = read_tflite(mlperf_tiny(CHECKPOINTS["ds_cnn"]).read_bytes(), "kws")
    inputs = random_inputs(onnx.load(path), batch=1)

    x = inputs[0]
    for index in range(9):
        x = separable_layer(x, weights, index, 2 if index == 0 else 1)
    expected = weights["dense.weight"] @ x.mean(axis=(1, 2)) + weights["dense.bias"]

    np.testing.assert_allclose(outputs(path, inputs)[0], expected, rtol=1e-4, atol=1e-4)


def separable_layer(x, weights, index, stride):
    """Layer ``index`` of a depthwise separable network in float64, with padding "same", on CHW."""
    kind, number = ("depthwise_conv2d", index // 2) if index % 2 else ("conv2d", index // 2)
    layer = f"{kind}_{number}" if number else kind
    norm = f"batch_normalization_{index}" if index else "batch_normalization"
    kernel = weights[f"{layer}.weight"].astype(np.float64)
    sizes = [-(-length // stride) for length in x.shape[1:]]
    paddings = []
    for length, out, taps in zip(x.shape[1:], sizes, kernel.shape[2:], strict=True):
        total = max((out - 1) * stride + taps - length, 0)
        paddings.append((total // 2, total - total // 2))
    padded = np.pad(x.astype(np.float64), [(0, 0), *paddings])
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    subscripts = "chwij,cij->chw" if index % 2 else "chwij,ocij->ohw"
    x = np.einsum(subscripts, windows, kernel[:, 0] if index % 2 else kernel)
    x = x + weights[f"{layer}.bias"][:, None, None]
    if f"{norm}.weight" in weights:
        gamma, beta, mean, variance = (
            weights[f"{norm}.{part}"].astype(np.float64)[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    return np.maximum(x, 0)


def test_an_unknown_model_is_answered_with_those_that_there_are(tmp_path):
    with pytest.raises(UsageError, match="resnet8, vww_mobilenet, ds_cnn, autoencoder"):
        export_checkpoint("resnet9", tmp_path / "x.h5", tmp_path / "x.onnx")


def test_a_checkpoint_of_another_kind_or_nowhere_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.h5 or \.tflite"):
        export_checkpoint("resnet8", tmp_path / "x.pb", tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"x\.h5 cannot be read: No such file"):
        export_checkpoint("resnet8", tmp_path / "x.h5", tmp_path / "x.onnx")


def test_a_checkpoint_of_another_network_leaves_no_file(tmp_path):
    with pytest.raises(ModelError, match="belongs to another architecture"):
        exported("resnet8", tmp_path, "vww_96.h5")

    assert not list(tmp_path.iterdir())
