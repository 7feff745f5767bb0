"""A linear classifier and labelled data that it gets right but for six examples."""

import numpy as np
import pytest

from tests.report.conftest import save_classifier


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder of a model and data that no test changes."""
    return tmp_path_factory.mktemp("optimized")


@pytest.fixture(scope="session")
def classifier(folder):
    """An ``.onnx`` file: 32 features, 8 classes."""
    path = folder / "classifier.onnx"
    save_classifier(path, features=32, classes=8)
    return path


@pytest.fixture(scope="session")
def labelled(folder, classifier):
    """An ``.npz`` of 60 examples, of which the classifier gets 54 right."""
    weights = save_classifier(folder / "labelling.onnx", features=32, classes=8)
    x = np.random.default_rng(7).normal(size=(60, 32)).astype(np.float32)
    y = (x @ weights).argmax(axis=1)
    y[:6] = (y[:6] + 1) % 8
    path = folder / "labelled.npz"
    np.savez(path, x=x, y=y)
    return path
