"""Building the bundled ONNX file from weights, and drawing the samples."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.data.preprocessing import read_metadata
from ingot.errors import DataError
from ingot.models import export_cifar10
from ingot.models.cifar10 import BUNDLED_MODEL
from ingot.models.cifar_resnet import BATCH_NORM_EPSILON, residual_blocks, weight_shapes
from ingot.models.reference import CIFAR10_PREPROCESSING


@pytest.fixture
def weights():
    rng = np.random.default_rng(1)
    drawn = {}
    for name, shape in weight_shapes().items():
        value = rng.standard_normal(shape) * 0.1
        if name.endswith((".scale", ".variance")):
            value = 1 + abs(value)
        drawn[name] = value.astype(np.float32)
    return drawn


def convolve(x, kernel, stride):
    """Convolution by its definition, in float64."""
    size = kernel.shape[-1]
    margin = size // 2
    x = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], kernel)


def reference(weights, x):
    """The network by the formulas of the paper, in float64, apart from any framework."""

    def conv_norm(x, name, stride=1):
        y = convolve(x, weights[f"{name}.weight"].astype(np.float64), stride)
        scale, bias, mean, variance = (
            weights[f"{name}.{part}"].astype(np.float64)[:, None, None]
            for part in ("scale", "bias", "mean", "variance")
        )
        return (y - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) * scale + bias

    x = np.maximum(conv_norm(x, "stem"), 0)
    for block in residual_blocks():
        shortcut = conv_norm(x, f"{block.name}.shortcut", block.stride) if block.projects else x
        x = np.maximum(conv_norm(x, f"{block.name}.conv1", block.stride), 0)
        x = np.maximum(conv_norm(x, f"{block.name}.conv2") + shortcut, 0)
    return x.mean((2, 3)) @ weights["classifier.weight"].T + weights["classifier.bias"]


class TestBuildModel:
    @pytest.mark.parametrize("batch", [1, 3])
    def test_computes_the_network_of_the_paper(self, weights, batch):
        image = np.random.default_rng(batch).standard_normal((batch, 3, 32, 32)).astype(np.float32)
        model = export_cifar10.build_model(weights)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        (logits,) = session.run(["logits"], {"image": image})
        expected = reference(weights, image.astype(np.float64))
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)

    def test_names_every_node_and_tensor_once(self, weights):
        graph = export_cifar10.build_model(weights).graph
        nodes = [node.name for node in graph.node]
        tensors = [output for node in graph.node for output in node.output]
        assert all(nodes)
        assert len(set(nodes)) == len(nodes)
        assert len(set(tensors)) == len(tensors)

    def test_same_weights_give_the_same_bytes(self, weights):
        first = export_cifar10.build_model(weights).SerializeToString(deterministic=True)
        second = export_cifar10.build_model(weights).SerializeToString(deterministic=True)
        assert first == second

    def test_reads_back_as_the_same_weights(self, weights):
        for tensor in export_cifar10.build_model(weights).graph.initializer:
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), weights[tensor.name])

    @pytest.mark.parametrize("change", ["missing", "superfluous", "reshaped"])
    def test_weights_that_do_not_fit_are_named(self, weights, change):
        if change == "missing":
            del weights["stem.weight"]
        elif change == "superfluous":
            weights["stem.weight2"] = weights["stem.weight"]
        else:
            weights["stem.weight"] = weights["stem.weight"][..., :1]
        with pytest.raises(DataError, match=r"stem\.weight"):
            export_cifar10.build_model(weights)


labels_with_enough_of_each_class = st.permutations([label for label in range(10) for _ in range(6)])


class TestChoosing:
    @settings(max_examples=50)
    @given(labels_with_enough_of_each_class, st.integers(1, 6), st.integers(0, 2**32))
    def test_balanced_draw_has_each_class_equally_and_no_image_twice(self, labels, per_class, seed):
        labels = np.asarray(labels)
        chosen = export_cifar10.choose_balanced(labels, per_class, np.random.default_rng(seed))
        assert np.bincount(labels[chosen], minlength=10).tolist() == [per_class] * 10
        assert (np.diff(chosen) > 0).all()

    @settings(max_examples=50)
    @given(labels_with_enough_of_each_class, st.integers(1, 60), st.integers(0, 2**32))
    def test_calibration_draw_has_the_count_and_classes_differ_by_one_at_most(
        self, labels, count, seed
    ):
        labels = np.asarray(labels)
        chosen = export_cifar10.choose_calibration(labels, count, np.random.default_rng(seed))
        counts = np.bincount(labels[chosen], minlength=10)
        assert counts.sum() == count
        assert counts.max() - counts.min() <= 1
        assert (np.diff(chosen) > 0).all()

    def test_draw_follows_the_seed(self):
        labels = np.arange(500) % 10
        first, second, other = (
            export_cifar10.choose_balanced(labels, 5, np.random.default_rng(seed))
            for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first, second)
        assert first.tolist() != other.tolist()


def test_the_bundled_model_carries_its_preprocessing():
    model = onnx.load(BUNDLED_MODEL)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert read_metadata(metadata, BUNDLED_MODEL.parent) == CIFAR10_PREPROCESSING
