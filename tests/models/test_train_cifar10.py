"""The training script. PyTorch is needed, which is not among the project's own dependencies."""

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is needed to train the bundled model anew")

from ingot.errors import UsageError  # noqa: E402
from ingot.models import train_cifar10  # noqa: E402
from ingot.models.cifar10 import bundled_calibration, preprocess  # noqa: E402
from ingot.models.export_cifar10 import build_model  # noqa: E402

OPTIONS = train_cifar10.TrainingOptions(epochs=5, batch_size=32)


def test_network_computes_what_the_exported_graph_computes():
    weights = train_cifar10.initial_weights(3)
    image = preprocess(bundled_calibration()[0][:4])
    with torch.no_grad():
        expected = train_cifar10.forward(weights, torch.from_numpy(image), training=False).numpy()
    arrays = {name: value.detach().contiguous().numpy() for name, value in weights.items()}
    session = onnxruntime.InferenceSession(build_model(arrays).SerializeToString())
    (logits,) = session.run(None, {"image": image})
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_normalization_is_the_documented_preprocessing():
    images = bundled_calibration()[0][:4]
    np.testing.assert_allclose(
        train_cifar10.normalized(images).numpy(), preprocess(images), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("epoch", "size"), [(0, 24), (2, 24), (3, 28), (4, 32)])
def test_crops_grow_with_the_epochs(epoch, size):
    images, labels = bundled_calibration()
    batches = list(train_cifar10.augmented_batches(images, labels, epoch, OPTIONS))
    assert len(batches) == len(images) // OPTIONS.batch_size
    assert {tuple(batch.shape) for batch, _ in batches} == {(32, 3, size, size)}


def test_each_image_is_seen_once_per_epoch_with_its_label():
    images, labels = bundled_calibration()
    flat = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], images.shape)
    marked = np.ascontiguousarray(flat)
    seen = []
    for batch, targets in train_cifar10.augmented_batches(marked, labels, 0, OPTIONS):
        red = batch[:, 0, 0, 0].numpy() * train_cifar10.CIFAR10_STD[0]
        numbers = np.rint((red + train_cifar10.CIFAR10_MEAN[0]) * 255).astype(int)
        np.testing.assert_array_equal(labels[numbers], targets.numpy())
        seen.extend(numbers.tolist())
    assert sorted(seen) == list(range(256))


def test_learning_rate_rises_to_the_peak_and_falls_to_zero():
    rates = [train_cifar10.learning_rate(step / 100, OPTIONS) for step in range(101)]
    peak = int(np.argmax(rates))
    assert rates[0] == pytest.approx(OPTIONS.peak_learning_rate / 10)
    assert max(rates) <= OPTIONS.peak_learning_rate
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] == 0


@pytest.mark.slow
def test_interrupted_run_ends_as_one_that_was_not(tmp_path):
    images, labels = bundled_calibration()
    whole = train_cifar10.Training(OPTIONS, tmp_path / "whole.pt")
    for _ in range(4):
        whole.run_epoch(images, labels)
    for _ in range(4):
        part = train_cifar10.Training(OPTIONS, tmp_path / "parts.pt")
        part.run_epoch(images, labels)
    assert part.epoch == whole.epoch == 4
    for name, value in whole.average.items():
        np.testing.assert_allclose(part.average[name], value, rtol=1e-4, atol=1e-5)


def test_checkpoint_of_other_options_is_refused(tmp_path):
    train_cifar10.Training(OPTIONS, tmp_path / "c.pt").save()
    other = train_cifar10.TrainingOptions(epochs=6, batch_size=32)
    with pytest.raises(UsageError, match="other options"):
        train_cifar10.Training(other, tmp_path / "c.pt")


@pytest.mark.slow
def test_loss_falls_when_a_few_images_are_learned_by_heart(tmp_path):
    images, labels = (part[:64] for part in bundled_calibration())
    options = train_cifar10.TrainingOptions(epochs=20, batch_size=32, peak_learning_rate=0.05)
    training = train_cifar10.Training(options, tmp_path / "c.pt")
    while training.epoch < options.epochs:
        training.run_epoch(images, labels)
    predicted = train_cifar10.predictions(training.weights, images)
    assert (predicted == labels).mean() > 0.5
