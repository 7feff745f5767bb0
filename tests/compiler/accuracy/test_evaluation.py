"""A model's accuracy on labelled data."""

import numpy as np
import pytest

from ingot.compiler.accuracy.evaluation import measure_accuracy
from ingot.data import open_dataset
from ingot.data.metrics import TopK
from ingot.errors import DataError
from tests.graphs import parse


@pytest.fixture
def model():
    """The scores are the input."""
    return parse(
        '<ir_version: 10, opset_import: ["":21]> '
        "g (float[N, 4] x) => (float[N, 4] y) { y = Identity(x) }"
    )


def dataset(tmp_path, labels):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.eye(4, dtype=np.float32), **labels)
    return open_dataset(path, None, ["x"])


@pytest.mark.parametrize(
    ("labels", "accuracy"), [([0, 1, 2, 3], 100), ([0, 1, 2, 2], 75), ([1, 2, 3, 0], 0)]
)
def test_share_of_examples_that_are_right(model, tmp_path, labels, accuracy):
    data = dataset(tmp_path, {"y": np.array(labels)})
    assert measure_accuracy(model, data, TopK(1)) == accuracy


def test_data_without_labels(model, tmp_path):
    with pytest.raises(DataError):
        measure_accuracy(model, dataset(tmp_path, {}), TopK(1))


def test_labels_that_the_model_cannot_give(model, tmp_path):
    with pytest.raises(DataError):
        measure_accuracy(model, dataset(tmp_path, {"y": np.array([0, 1, 2, 9])}), TopK(1))
