"""Tiny models that real workers load."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def save_classifier(path, *, classes=3, features=4, seed=0, noise=0.0, batch=1):
    """``y = x W``, [batch, features] -> [batch, classes], with seeded weights plus ``noise``."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(features, classes)).astype(np.float32)
    weights += np.float32(noise) * np.random.default_rng(seed + 1).normal(
        size=weights.shape
    ).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="matmul")],
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)
    return weights


@pytest.fixture
def make_classifier(tmp_path):
    """Makes an ``.onnx`` file of a classifier with the options of ``save_classifier``."""

    def make(name="made", **options):
        path = tmp_path / f"{name}.onnx"
        save_classifier(path, **options)
        return path

    return make


@pytest.fixture
def classifier(tmp_path):
    """An ``.onnx`` file of a linear classifier: 4 features, 3 classes."""
    path = tmp_path / "classifier.onnx"
    save_classifier(path)
    return path


@pytest.fixture
def labelled_data(tmp_path):
    """An ``.npz`` of 60 examples, labelled as the classifier sees most of them."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(60, 4)).astype(np.float32)
    weights = save_classifier(tmp_path / "labelling.onnx")
    y = (x @ weights).argmax(axis=1)
    y[:6] = (y[:6] + 1) % 3
    path = tmp_path / "labelled.npz"
    np.savez(path, x=x, y=y)
    return path
